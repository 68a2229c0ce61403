#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Goal: the bundle runs anywhere: its programs find every library in it but the C library's, it is
# small, and the three processes answer from it. Method: the target, unpacked elsewhere.
#
#   bundle_test.sh BUILD_DIR
set -euo pipefail
build=$1
scratch=$(mktemp -d)
trap '"$scratch"/tandem-*/deploy/scripts/local.sh down --dir "$scratch/state" >/dev/null
      rm -rf "$scratch"' EXIT

fail() {
  echo "bundle_test: $*" >&2
  exit 1
}

cmake --build "$build" --target bundle >"$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }
archive=$(echo "$build"/bundle/tandem-*.tar.gz)
bytes=$(stat -c %s "$archive")
[ "$bytes" -lt 60000000 ] || fail "$bytes bytes, at most 60 MB"
tar xzf "$archive" -C "$scratch"
cd "$scratch"/tandem-*

# What a program of the bundle may take from the machine.
system='^(linux-vdso|ld-linux-x86-64|lib(c|m|dl|rt|pthread|resolv))\.so'
for program in bin/*; do
  while read -r library _ path _; do
    [[ "$library" == /* ]] && library=$(basename "$library")
    [[ "$library" =~ $system ]] || [[ "$path" == "$PWD"/lib/* ]] ||
      [[ "$(readlink -f "$path")" == "$PWD"/lib/* ]] ||
      fail "$program takes $library from ${path:-nowhere}"
  done < <(ldd "$program")
done

deploy/scripts/local.sh up --dir "$scratch/state" --model deploy/models/tiny-v4 >/dev/null
port=$(awk '$1 == "router" {print $4}' "$scratch/state/processes")
answer=$(bin/tandem generate --target "127.0.0.1:$port" --temperature 0 --prompt "Sam has 3 pens.")
[ -n "$answer" ] || fail "no answer"
echo "$(basename "$archive"): $bytes bytes"
