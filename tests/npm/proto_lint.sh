#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Goal: the contract stays clean. Method: `buf lint` (rules in proto/buf.yaml) and `buf format`
# over proto/, but for what is copied from googleapis.
set -euo pipefail
cd "$(dirname "$0")/../.."

buf=build/node_modules/.bin/buf
[ -x "$buf" ] || { echo "no $buf: run tests/npm/install.sh" >&2; exit 1; }
"$buf" lint proto
"$buf" format proto --exclude-path proto/google --diff --exit-code
