#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Rewrites every layer golden: make_layer_goldens.sh REFERENCE_FOLDER   (the checkpoints come and go in a scratch folder)
set -eu
reference=$1
here=$(dirname "$(readlink -f "$0")")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PYTHONDONTWRITEBYTECODE=1
golden() { /usr/bin/python3 "$here/make_layer_goldens.py" "$reference" "$@"; }

golden "$here/../../../deploy/models/tiny-v4" "$here/layers_tiny.safetensors" \
  --ids "$here/golden_tiny.json" turns --streams 0 1 2 3 4 5 6
"$here/write_random.sh" a "$scratch/a"
golden "$scratch/a" "$here/layers_random_a.safetensors" --ids "$here/golden_random_a.json" n131 --streams 1 2 3 4
"$here/write_random.sh" b "$scratch/b"
golden "$scratch/b" "$here/layers_random_b.safetensors" --random 131 --streams 2 3 4
"$here/write_random.sh" c "$scratch/c"
golden "$scratch/c" "$here/layers_random_c.safetensors" --random 139 --streams 0 1 2 3 4 5
