#!/usr/bin/env bash
# Runs a command in a container that has this folder and the network of this machine:
# `in-container.sh IMAGE COMMAND [ARGUMENT ...]`.
set -euo pipefail
cd "$(dirname "$0")/../.."

image=$1
shift
exec "${DOCKER:-docker}" run --rm --network host --env DATABASE_URL \
  --volume "$PWD:/repository" --workdir /repository "$image" "$@"
