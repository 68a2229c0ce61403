#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts the npm packages of package.json, at exactly its versions, into build/node_modules; does
# nothing when they are there. Needs the npm registry once. No package's own scripts run.
set -euo pipefail
cd "$(dirname "$0")/../.."

wanted=tests/npm/package.json
installed=build/node_modules/.tandem-package.json
if cmp -s "$wanted" "$installed"; then exit 0; fi
mkdir -p build
# Whom the machine trusts, npm trusts: node brings its own list else.
export NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}"
cp "$wanted" build/package.json
npm install --prefix build --no-package-lock --ignore-scripts --no-audit --no-fund \
  --loglevel=error >&2
cp "$wanted" "$installed"
