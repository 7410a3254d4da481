#!/bin/sh
# Copies the harness and the filter into a folder: the ones in the build image if it is a stand-in, or else freshly built ones.
set -eu
out=$1
mkdir -p "$out"
if [ -d /prebuilt ]; then
  if [ "$(sh test-harness/docker/sources.sh)" != "$(cat /prebuilt/sources)" ]; then
    echo "the build image is a stand-in, made from other sources: run \`.ci/images\` again, or remove it" >&2
    exit 1
  fi
  cp /prebuilt/harness /prebuilt/callgate.wasm "$out"
  exit
fi
cargo build --locked --package test-harness
cp target/debug/test-harness "$out/harness"
cp "$("$out/harness" build)" "$out/callgate.wasm"
