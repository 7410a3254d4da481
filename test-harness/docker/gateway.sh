#!/usr/bin/env bash
# Starts Envoy with one of its configurations. The access log goes into a file, where a tester finds it, and Envoy's errors to whoever
# runs the container: no more, since `docker-compose` 1.29 reads nothing before every container is well, and a warning for each of a
# thousand policies would fill the pipe and stop Envoy before that.
set -euo pipefail
. /etc/envoy/environment.sh
exec envoy --config-path "/etc/envoy/$1.json" --concurrency 1 --disable-hot-restart \
  --file-flush-interval-msec 20 --log-level error >/var/log/envoy/access.log
