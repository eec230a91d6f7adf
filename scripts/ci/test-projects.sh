#!/usr/bin/env bash
# Runs the tests of users' projects on the tarballs in artifacts/.
set -euo pipefail
cd "$(dirname "$0")/../.."

npm ci --no-audit --no-fund
node scripts/test-projects.js --tarballs artifacts
