# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by tests/gpu.sh: the services as processes on this machine's GPUs. Stages `services`
# (goldens, stories, weights, hand-off), `steps` (V4-Flash at full size, made-up weights: a worker's
# steps; prefill beside decode) and `soak` (mixed load while prefill dies and comes back). Uses
# $bin, $out, $gpus, $soak_minutes and $soak_channel, and sets $failed.

services() {
  run_tests weights_cuda_test transfer_cuda_test services_cuda_test
}

# Whether every GPU holds its part of V4-Flash, of so many ranks, with room to work.
flash_fits() {
  local least
  least=$(nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits | sort -n | head -1)
  [ "$gpus" -ge "$1" ] && [ "$least" -ge $((165000 / $1 + 8000)) ]
}

steps() {
  local ranks ran=""
  for ranks in 1 2 4 8; do
    flash_fits $ranks || continue
    ran=yes
    echo "worker { listen: \"127.0.0.1:9000\" model_dir: \"deploy/models/v4-flash\"
      device: DEVICE_CUDA tensor_parallel: $ranks load_format: LOAD_FORMAT_DUMMY }" \
      >"$out/steps$ranks.textproto"
    {
      echo "tensor_parallel: $ranks"
      "$bin/step_bench" "$out/steps$ranks.textproto" &&
        { [ $ranks -ne 2 ] || "$bin/step_bench" "$out/steps2.textproto" prompt=131072 steps=8; }
    } 2>"$out/steps$ranks.log" | tee "$out/steps$ranks.md"
    [ "${PIPESTATUS[0]}" -eq 0 ] || { failed=1; tail -20 "$out/steps$ranks.log"; }
  done
  [ -n "$ran" ] || echo "steps: V4-Flash does not fit these GPUs: not run"
  if flash_fits 2 && [ "$gpus" -ge 4 ]; then beside IPC && beside NCCL || failed=1; fi
}

# Prompts of 8,192 tokens, then one of 130,000, from two GPUs to two others, by one kind of channel.
beside() {
  local state="$out/beside-$1" port=8451 strict="kv_channel: KV_CHANNEL_POLICY_STRICT" failures=0
  local load=("$bin/tandem" load run --target 127.0.0.1:$port --concurrency 1 --quiet)
  deploy/scripts/local.sh up --dir "$state" --bin "$bin" --model deploy/models/v4-flash \
    --port $port --device cuda --decode-gpus 0,1 --prefill-gpus 2,3 --load-format dummy \
    --pages 4000 --prefill-config "kv_channel_kind: KV_CHANNEL_KIND_$1 $strict" || return 1
  {
    "${load[@]}" --prompt-tokens 8192 --output-tokens 64 --requests 8 --warmup 2 \
      --json "$out/beside-$1.json" || failures=1
    "${load[@]}" --prompt-tokens 130000 --output-tokens 16 --requests 1 \
      --json "$out/beside-$1-long.json" || failures=1
  } >"$out/beside-$1.txt"
  cat "$out/beside-$1.txt"
  deploy/scripts/local.sh down --dir "$state"
  return $failures
}

# Starts a prefill worker again each time it has been killed, until the load has ended.
kill_prefill() {  # state-folder load-pid
  local name=prefill-1 pid
  while sleep 46 && kill -0 "$2" 2>/dev/null; do
    pid=$(pgrep -f "tandem-prefill --config $1/$name.textproto")
    [ -n "$pid" ] && kill -KILL "$pid"
    sleep 2
    setsid "$bin/tandem-prefill" --config "$1/$name.textproto" </dev/null >>"$1/$name.log" 2>&1 &
  done
}

memory() {  # of the cluster's processes, and of the GPU
  local pid
  for pid in $(pgrep -f "tandem-(router|prefill|decode) --config $1/"); do
    echo "$(tr '\0' ' ' <"/proc/$pid/cmdline" | sed 's|.*/||')" \
      "$(awk '/VmRSS/ {print $2, $3}' "/proc/$pid/status")"
  done
  nvidia-smi --query-gpu=index,memory.used --format=csv,noheader
}

soak() {
  local state="$out/soak" port=8452 strict="kv_channel: KV_CHANNEL_POLICY_STRICT" load idle
  deploy/scripts/local.sh up --dir "$state" --bin "$bin" --model deploy/models/tiny-v4 \
    --port $port --device cuda --prefill 2 --pages 512 \
    --prefill-config "kv_channel_kind: KV_CHANNEL_KIND_$soak_channel $strict" ||
    { failed=1; return; }
  idle=$(awk '$1 ~ /^decode/ {print $5}' "$state/processes")
  "$bin/tandem" load soak --target 127.0.0.1:$port --rate 60 --arrival poisson \
    --duration "${soak_minutes}m" --prompt-tokens lognormal:250,1,3000 --prefix-groups 4 \
    --prefix-tokens 64 --output-tokens 16..128 --golden tests/golden/model/golden_tiny.json:0.1 \
    --nasty 0.15 --expect-loss --check-idle "127.0.0.1:$idle" --quiet --json "$out/soak.json" \
    >"$out/soak.txt" 2>&1 &
  load=$!
  kill_prefill "$state" $load &
  sleep 60 && memory "$state" >"$out/soak-memory.txt"
  wait $load || failed=1
  { echo "at the end:"; memory "$state"; } >>"$out/soak-memory.txt"
  tail -40 "$out/soak.txt"
  cat "$out/soak-memory.txt"
  pkill -f "tandem-prefill --config $state/"  # local.sh does not know the one that came back
  deploy/scripts/local.sh down --dir "$state"
}
