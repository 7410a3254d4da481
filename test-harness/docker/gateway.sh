#!/usr/bin/env bash
# Starts Envoy with one of its configurations. The access log goes into a file, where a tester finds it, and Envoy's own log to
# whoever runs the container.
set -euo pipefail
. /etc/envoy/environment.sh
exec envoy --config-path "/etc/envoy/$1.json" --concurrency 1 --disable-hot-restart \
  --file-flush-interval-msec 20 --log-level warn >/var/log/envoy/access.log
