#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copies rules, alerts and boards of deploy/ into the chart: helm reads no file outside of it. Tests
# compare what is rendered with the originals.
set -euo pipefail
cd "$(dirname "$0")/.."
files=helm/tandem/files
rm -rf "$files"
mkdir -p "$files/prometheus" "$files/grafana"
cp deploy/prometheus/{rules,alerts}.yaml "$files/prometheus/"
cp deploy/grafana/*.json "$files/grafana/"
