#!/bin/sh
# The same in an Alpine image of Rust, which has neither bash nor Node.
set -eu
cd "$(dirname "$0")/../.."

apk add --no-cache bash musl-dev nodejs npm
bash scripts/ci/pack.sh "$1"
