#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A compiler launcher: runs the command and keeps what it says on stderr beside the object, as
# OBJECT.ptxas, for tests/kernels/cuda/resources.py. Only warnings and errors are shown.
set -uo pipefail
object=""
for ((i = 1; i < $#; ++i)); do
  next=$((i + 1))
  [ "${!i}" = -o ] && object=${!next}
done
log=$([ -n "$object" ] && echo "$object.ptxas" || mktemp)
"$@" 2>"$log"
code=$?
grep -v -e '^ptxas info' -e 'bytes stack frame' -e '^$' "$log" >&2
exit $code
