#!/bin/sh
# Prints a hash of all sources of the harness and the filter.
set -eu
cd "$(dirname "$0")/../.."
find Cargo.toml Cargo.lock build.rs .cargo src document kit test-harness/Cargo.toml test-harness/src test-harness/instructions.json \
  test-harness/identity-provider test-harness/testbed -type f |
  LC_ALL=C sort | xargs sha256sum | sha256sum
