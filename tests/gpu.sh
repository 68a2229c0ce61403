#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that needs a GPU, in one call. Runs where the programs lie; on a machine without
# packages they come by gpu/pack.sh and gpu/unpack.sh.
#
#   tests/gpu.sh [--bin DIR] [--out DIR] [--minutes N] [--channel KIND] [STAGE…] [FAMILY…]
#
#   tests     the CUDA table, the engine on it, its ranks
#   services  the services as processes: goldens, stories, weights, hand-off
#   sanitize  memcheck and racecheck over a part of the tests
#   sass      which instructions the kernels became, on both targets
#   bench     every kernel against this machine's ceilings (FAMILY: only those), and the peers
#   steps     V4-Flash at full size, made-up weights, where it fits
#   soak      --minutes (10) of mixed load by one --channel (SHARED, or IPC, GRPC) while prefill is
#             killed and comes back
#
# default: all of them, --bin build/cuda/bin, --out . ; logs, tables and figures go into --out.
# Exits with 1 if something is amiss. The ceilings need PyTorch, ranks its NCCL, the sanitizers and
# SASS CUDA's tools.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. tests/gpu/sanitize.sh
. tests/gpu/whole.sh

bin=build/cuda/bin out=. soak_minutes=10 soak_channel=SHARED
stages=() families=()
while [ $# -gt 0 ]; do
  case "$1" in
    --bin) bin=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --minutes) soak_minutes=$2; shift 2 ;;
    --channel) soak_channel=$2; shift 2 ;;
    tests | services | sanitize | sass | bench | steps | soak) stages+=("$1"); shift ;;
    -*) sed -n '6s/^# *//p' "$0" >&2; exit 2 ;;
    *) families+=("$1"); shift ;;
  esac
done
[ ${#stages[@]} -gt 0 ] || stages=(tests services sanitize sass bench steps soak)
bin=$(cd "$bin" && pwd) && out=$(mkdir -p "$out" && cd "$out" && pwd) || exit 1
gpus=$(nvidia-smi -L | grep -c '^GPU') || { echo "gpu.sh: no GPU here" >&2; exit 1; }
failed=0

# What came with the programs, and NCCL as PyTorch has it.
libraries() {
  python3 - <<'PY'
import glob, sysconfig
print(":".join(glob.glob(sysconfig.get_paths()["purelib"] + "/nvidia/nccl/lib")))
PY
}
[ ! -d "$bin/../lib" ] || export LD_LIBRARY_PATH="$bin/../lib:$(libraries)"

ceilings() {
  python3 - <<'PY'
import torch

def median(run, times=10):
    seconds = []
    for i in range(times + 3):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        if i >= 3:
            seconds.append(begin.elapsed_time(end) * 1e-3)
    return sorted(seconds)[times // 2]

source = torch.randint(0, 255, (4 << 30,), dtype=torch.uint8, device="cuda")
target = torch.empty_like(source)
a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
print(f"{2 * source.numel() / median(lambda: target.copy_(source)) / 1e9:.0f}",
      f"{2 * 8192**3 / median(lambda: a @ b) / 1e12:.0f}")
PY
}

# Each test program's log, and of a failure the end of it.
run_tests() {
  local test log
  for test in "$@"; do
    log="$out/$test.log"
    "$bin/$test" >"$log" 2>&1 || { failed=1; grep -aE -A 12 'Failure|CHECK' "$log" | tail -60; }
    echo "$test: $(grep -ac '^\[       OK' "$log") passed," \
      "$(grep -acE '^\[  FAILED.* ms\)' "$log") failed; $(tail -1 "$log")"
  done
}

tests() {
  run_tests kernels_cuda_test engine_cuda_test parallel_cuda_test
}

# What became of the instructions that matter, on the target that no machine here has.
sass() {
  python3 tests/kernels/cuda/sass.py "$bin/kernels_cuda_test" | tee "$out/sass.md"
  [ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
}

bench() {
  local copy bf16
  read -r copy bf16 < <(ceilings)
  {
    echo "Machine: $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader)"
    "$bin/kernels_cuda_bench" "$copy" "$bf16" "${families[@]}"
  } | tee "$out/kernels.md"
  [ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
  [ ${#families[@]} -gt 0 ] ||
    python3 tests/bench/kernels/peers.py "$out/kernels.md" | tee "$out/peers.md"
  if [ ${#families[@]} -eq 0 ] && [ "$gpus" -gt 1 ]; then
    "$bin/all_reduce_bench" | tee "$out/all_reduce.md"
    [ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
  fi
}

nvidia-smi -L
for stage in "${stages[@]}"; do
  begin=$SECONDS
  echo "== $stage"
  $stage
  echo "== $stage: $((SECONDS - begin)) s"
done
exit $failed
