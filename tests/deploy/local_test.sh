#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Goal: deploy/scripts/local.sh does what its head says. Method: the three programs of a build, on
# the small model, up, looked at, and down again.
#
#   local_test.sh BIN
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$1
state=$(mktemp -d)
trap 'deploy/scripts/local.sh down --dir "$state" >/dev/null; rm -rf "$state"' EXIT

fail() {
  echo "local_test: $*" >&2
  exit 1
}

up() {
  deploy/scripts/local.sh up --dir "$state" --bin "$bin" --model deploy/models/tiny-v4 "$@"
}

up --prefill 2 --decode 2
port=$(awk '$1 == "router" {print $5}' "$state/processes")
why=$(deploy/scripts/local.sh up --dir "$state/2" --bin "$bin" --model deploy/models/tiny-v4 \
  --port "$port" 2>&1) && fail "two on port $port"
[[ "$why" == *"port $port on 127.0.0.1 is in use"* ]] || fail "a taken port is not named: $why"
seen=$(curl --silent --noproxy '*' "http://127.0.0.1:$port/metrics" |
  awk '/^tandem_workers_up{/ {up += $NF} END {print up}')
[ "$seen" = 4 ] || fail "up returned while the router saw $seen of 4 workers"
deploy/scripts/local.sh status --dir "$state" >/dev/null || fail "up, but status does not say so"
[ "$(up --prefill 2 --decode 2 | tail -n 1)" = "already up" ] || fail "up twice is not harmless"

read -r outgoing _ </proc/sys/net/ipv4/ip_local_port_range
ports=$(awk '{print $4; print $5}' "$state/processes")
[ "$(sort -u <<<"$ports" | wc -l)" -eq 10 ] || fail "not 10 ports of their own: $ports"
for port in $ports; do
  # An outgoing connection could take any other while its process is away.
  [ "$port" -lt "$outgoing" ] || [ "$outgoing" -lt 21000 ] || fail "$port is not below $outgoing"
done

deploy/scripts/local.sh down --dir "$state" >/dev/null
! deploy/scripts/local.sh status --dir "$state" >/dev/null || fail "down, but status says up"

# Workers on a GPU, whether there is one or not: a pair of them has one copy of the weights.
shared_by() {
  up --device cuda "$@" >/dev/null 2>&1 || true
  deploy/scripts/local.sh down --dir "$state" >/dev/null
  local config name
  for config in "$state"/{prefill,decode}-*.textproto; do
    name=$(basename "$config")
    "$bin/tandem-${name%%-*}" --config "$config" --validate-config >/dev/null ||
      fail "$name is no valid config"
    ! grep -q 'weights: WEIGHTS_SHARED' "$config" || echo "$name"
  done
}
[ "$(shared_by | wc -l)" -eq 2 ] || fail "a pair on one GPU does not share weights"
[ -z "$(shared_by --decode 2)" ] || fail "prefill follows one of two decode workers"
[ -z "$(shared_by --decode-gpus 0,1 --prefill-gpus 2)" ] || fail "weights shared by other GPUs"
grep -qx '  tensor_parallel: 2 gpus: 0 gpus: 1' "$state/decode-0.textproto" ||
  fail "decode was not given its GPUs"
grep -qx '  tensor_parallel: 1 gpus: 2' "$state/prefill-0.textproto" ||
  fail "prefill was not given its GPU"
for list in 0,1,2 "1," x; do
  why=$(up --device cuda --decode-gpus $list 2>&1) && fail "up with GPUs $list"
  [[ "$why" == *"--decode-gpus: $list is no list"* ]] || fail "GPUs $list: $why"
done
