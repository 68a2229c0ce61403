#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh Debian 12 to an answer: installs, builds release, starts router, prefill and decode
# on free loopback ports with the small trained model, streams one answer (greedy, in thinking mode:
# the reasoning on stderr, the answer on stdout) and its timing, and stops everything.
#
#   deploy/quickstart.sh [--prompt TEXT] [--model DIR] [--device cpu|cuda] [--keep]
#
# --keep leaves the processes up and says how to talk to them; `--device cuda` computes on GPU 0,
# where there is nvcc 13 to build with.
set -euo pipefail
export PATH="${PATH:-}${PATH:+:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export HOME="${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}"
export LC_ALL=C.UTF-8
cd "$(dirname "$0")/.."

prompt="Dan shares 14 oranges equally among 7 friends. Eva is one of them and already had 7. \
How many oranges does Eva have now?"
model=deploy/models/tiny-v4
device=cpu
keep=""
while [ $# -gt 0 ]; do
  case "$1" in
    --keep) keep=yes; shift ;;
    --prompt | --model | --device)
      [ $# -ge 2 ] || { echo "quickstart.sh: $1 takes a value" >&2; exit 2; }
      printf -v "${1#--}" %s "$2"
      shift 2 ;;
    *) sed -n '7s/^# */usage: /p' "$0" >&2; exit 2 ;;
  esac
done

state=build/quickstart
programs=(tandem tandem-router tandem-prefill tandem-decode)
say() { echo "== $*" >&2; }

# Shows a step's output only when it fails.
quietly() {
  local log=$1
  shift
  "$@" >"$log" 2>&1 || { tail -n 40 "$log" >&2; say "failed: $*"; exit 1; }
}

deploy/scripts/install_packages.sh build
mkdir -p build
say "building (release; the first time takes minutes)"
quietly build/quickstart-configure.log cmake --preset release
quietly build/quickstart-build.log cmake --build --preset release --parallel "$(nproc)" \
  --target "${programs[@]}"

# A second Ctrl-C does not stop the stopping.
stop() { (trap '' INT TERM HUP && deploy/scripts/local.sh down --dir "$state" >/dev/null); }
say "starting router, prefill and decode"
trap stop EXIT
stop
deploy/scripts/local.sh up --dir "$state" --model "$model" --device "$device" >&2
port=$(awk '$1 == "router" {print $4}' "$state/processes")

say "$prompt"
build/release/bin/tandem generate --target "127.0.0.1:$port" --prompt "$prompt" \
  --temperature 0 --thinking
if [ -n "$keep" ]; then
  trap - EXIT
  say "left up; to talk to it, to look at it, to end it:"
  echo "  build/release/bin/tandem chat --target 127.0.0.1:$port" >&2
  echo "  deploy/scripts/local.sh status --dir $state" >&2
  echo "  deploy/scripts/local.sh down --dir $state" >&2
fi
