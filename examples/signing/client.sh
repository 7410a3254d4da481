#!/bin/sh
# Uploads a report, signed with the report agent's key: client.sh FILE. Needs callgate and curl.
set -eu

# What is signed is the URL that clients know; GATEWAY is where it answers, which is elsewhere in tests.
api=https://artifacts.example.com
gateway=${GATEWAY:-$api}
key=${KEY:-$(dirname "$0")/keys/report-agent.jwk.json}
path=/projects/gateway/reports

callgate sign "$api$path" -X POST -H 'Content-Type: text/plain' --body "@$1" --key "@$key" --tag artifacts |
  curl --silent --show-error --fail-with-body -X POST -H @- -H 'Content-Type: text/plain' -H "Host: ${api#*://}" \
    --data-binary "@$1" "$gateway$path"
