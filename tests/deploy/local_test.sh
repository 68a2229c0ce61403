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
# What runs is not what is asked for, whatever it is that differs.
mkdir "$state/elsewhere"
ln -s "$(realpath "$bin")"/tandem* "$state/elsewhere"
for other in "--pages 255" "--slots 63" "--prefill-config chunk_tokens:64" "--load-format dummy" \
  "--decode-config batch_max:1" "--router-config requests_max:1" "--decode 1" "--port 65535" \
  "--bin $state/elsewhere"; do
  # shellcheck disable=SC2086
  why=$(up --prefill 2 --decode 2 $other 2>&1) && fail "already up in spite of $other"
  [[ "$why" == *"already up, but not as asked for"* ]] || fail "$other: $why"
done

read -r outgoing _ </proc/sys/net/ipv4/ip_local_port_range
ports=$(awk '{print $4; print $5}' "$state/processes")
[ "$(sort -u <<<"$ports" | wc -l)" -eq 10 ] || fail "not 10 ports of their own: $ports"
for port in $ports; do
  # An outgoing connection could take any other while its process is away.
  [ "$port" -lt "$outgoing" ] || [ "$outgoing" -lt 21000 ] || fail "$port is not below $outgoing"
done

deploy/scripts/local.sh down --dir "$state" >/dev/null
! deploy/scripts/local.sh status --dir "$state" >/dev/null || fail "down, but status says up"

# Workers that never serve.
mkdir "$state/never"
printf '#!/bin/sh\nexit 1\n' >"$state/never/tandem"
printf '#!/bin/sh\nexec sleep 600\n' >"$state/never/tandem-router"
cp "$state/never/tandem-router" "$state/never/tandem-prefill"
cp "$state/never/tandem-router" "$state/never/tandem-decode"
chmod +x "$state"/never/*
why=$(up --bin "$state/never" --start-timeout 1 2>&1) && fail "up, and nothing serves"
[[ "$why" == *"decode-0 does not serve after 1 s"* ]] || fail "--start-timeout 1: $why"

# Configs of workers on GPUs, whether there are some or not.
on_gpus() {
  up --device cuda "$@" >/dev/null 2>&1 || true
  deploy/scripts/local.sh down --dir "$state" >/dev/null
  local config name
  for config in "$state"/{prefill,decode}-*.textproto; do
    name=$(basename "$config")
    "$bin/tandem-${name%%-*}" --config "$config" --validate-config >/dev/null ||
      fail "$name is no valid config"
  done
}

expect() {  # name line…: its config has each of them
  local line
  for line in "${@:2}"; do
    grep -qx " *$line" "$state/$1.textproto" || fail "$1 has no $line: $(cat "$state/$1.textproto")"
  done
}

# A pair on the same GPUs has one copy of the weights.
shared_by() {
  on_gpus "$@"
  grep -l 'weights: WEIGHTS_SHARED' "$state"/*.textproto || true
}
[ "$(shared_by | wc -l)" -eq 2 ] || fail "a pair on one GPU does not share weights"
[ -z "$(shared_by --decode 2)" ] || fail "prefill follows one of two decode workers"
[ -z "$(shared_by --decode-gpus 0,1 --prefill-gpus 2)" ] || fail "weights shared by other GPUs"
[ "$(shared_by --prefill 2 --decode-gpus 0,1 --prefill-gpus 0,1,0,1 | wc -l)" -eq 3 ] ||
  fail "two prefill workers beside decode do not share its weights"
[ -z "$(shared_by --prefill 2 --decode-gpus 0,1 --prefill-gpus 0,1)" ] ||
  fail "weights shared with GPUs of other ranks"

# Workers of a role divide its GPUs; rows to other GPUs are copied, from a pool that takes a prompt
# as long as decode does.
on_gpus --decode-gpus 0,1 --prefill 3 --prefill-gpus 2,3,4,5,6,7 --pages 1000
expect decode-0 'tensor_parallel: 2 gpus: 0 gpus: 1'
expect prefill-0 'tensor_parallel: 2 gpus: 2 gpus: 3' 'kv_channel_kind: KV_CHANNEL_KIND_IPC' \
  'staging_pages: 1000'
expect prefill-2 'tensor_parallel: 2 gpus: 6 gpus: 7'
on_gpus --decode 2 --decode-gpus 0,1 --prefill-gpus 1 --pages 100000
expect decode-0 'tensor_parallel: 1 gpus: 0'
expect decode-1 'tensor_parallel: 1 gpus: 1'
# One of the two is on its GPU, where rows are written in place.
expect prefill-0 'tensor_parallel: 1 gpus: 1' 'staging_pages: 4096'
! grep -q kv_channel_kind "$state/prefill-0.textproto" || fail "rows to the same GPU are copied"
on_gpus --decode-gpus 0 --prefill-gpus 1 \
  --prefill-config 'kv_channel_kind: KV_CHANNEL_KIND_NCCL staging_pages: 7'
on_gpus --decode-gpus 0 --prefill-gpus 0
! grep -q 'kv_channel_kind\|staging_pages' "$state/prefill-0.textproto" || fail "copies in place"

for list in "1," x 1,-2; do
  why=$(up --device cuda --decode-gpus $list 2>&1) && fail "up with GPUs $list"
  [[ "$why" == *"--decode-gpus: $list is no list"* ]] || fail "GPUs $list: $why"
done
for list in 0,1,2 0,1,2,3,4,5; do
  why=$(up --device cuda --decode 2 --decode-gpus $list 2>&1) && fail "two decode workers on $list"
  [[ "$why" == *"$list has no 1, 2, 4 or 8 for each of --decode 2"* ]] || fail "GPUs $list: $why"
done
