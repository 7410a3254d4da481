#!/usr/bin/env bash
# Starts Envoy with one of its configurations. The access log goes into a file that a tester reads. Only Envoy's errors go to the output
# of the container: `docker-compose` 1.29 reads no output before every container is healthy, and a warning for each of a thousand policies
# would fill the pipe and block Envoy before that.
set -euo pipefail
. /etc/envoy/environment.sh
exec envoy --config-path "/etc/envoy/$1.json" --concurrency 1 --disable-hot-restart \
  --file-flush-interval-msec 20 --log-level error >/var/log/envoy/access.log
