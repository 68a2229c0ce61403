#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Goal: deploy/quickstart.sh starts what its arguments name, and stops it again. Method: the script
# in a tree where everything that it calls only notes how it was called.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

fail() {
  echo "quickstart_test: $*" >&2
  cat "$tree/calls" >&2
  exit 1
}

mkdir -p "$tree"/deploy/scripts "$tree"/build/release/bin "$tree"/build/quickstart "$tree"/path
cp "$root/deploy/quickstart.sh" "$tree/deploy/"
echo "router 1 1 8440 9440" >"$tree/build/quickstart/processes"
for called in deploy/scripts/install_packages.sh deploy/scripts/local.sh build/release/bin/tandem \
  path/cmake; do
  printf '#!/bin/sh\necho "%s $*" >>"%s/calls"\n' "$(basename $called)" "$tree" >"$tree/$called"
  chmod +x "$tree/$called"
done

calls() {
  : >"$tree/calls"
  PATH="$tree/path:$PATH" "$tree/deploy/quickstart.sh" "$@" >/dev/null 2>&1 || fail "$* fails"
}

started="local.sh up --dir build/quickstart --model"
calls
grep -qx "$started deploy/models/tiny-v4 --device cpu" "$tree/calls" || fail "not on the CPU"
[ "$(tail -n 1 "$tree/calls")" = "local.sh down --dir build/quickstart" ] || fail "it is left up"
calls --device cuda --model /m --prompt "one two" --keep
grep -qx "$started /m --device cuda" "$tree/calls" || fail "not on a GPU"
grep -q -- "--prompt one two " "$tree/calls" || fail "the prompt is not asked"
[[ "$(tail -n 1 "$tree/calls")" == "tandem generate "* ]] || fail "it is not kept"
