#!/usr/bin/env bash
# Builds and packs for a target of Rust: `pack.sh TARGET`.
set -euo pipefail
cd "$(dirname "$0")/../.."

if command -v rustup > /dev/null; then
  rustup target add "$1"
fi
npm ci --ignore-scripts --no-audit --no-fund
npm run pack -- --target "$1"
