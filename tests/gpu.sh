#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that needs a GPU, in one call: the tests of the CUDA table, of the engine on it and of
# the ranks, the sanitizers over a part of them (memcheck over the engine on tiny-v4 as well), and
# the benchmark against this machine's own ceilings. Runs where the binaries lie; they need no
# package but the driver (the engine's and the ranks' tests: Abseil; the engine's: the source folder
# where it was built; the ranks': NCCL's library; the ceilings: PyTorch; the sanitizers and SASS:
# CUDA's tools).
#
#   tests/gpu.sh [--bin DIR] [--out DIR] [tests] [sanitize] [sass] [bench [FAMILY…]]
#
# default: all of them, --bin build/cuda/bin, --out . ; writes tests.log, sanitize.log, sass.md,
# kernels.md, peers.md and, where there are two GPUs, all_reduce.md into --out, and exits with 1 if
# a test, a sanitizer or the SASS is amiss.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

bin=build/cuda/bin out=.
stages=() families=()
while [ $# -gt 0 ]; do
  case "$1" in
    --bin) bin=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    tests | sanitize | sass | bench) stages+=("$1"); shift ;;
    *) families+=("$1"); shift ;;
  esac
done
[ ${#stages[@]} -gt 0 ] || stages=(tests sanitize sass bench)
failed=0

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

tests() {
  local test
  : >"$out/tests.log"
  for test in kernels_cuda_test engine_cuda_test parallel_cuda_test; do
    "$bin/$test" --gtest_brief=1 2>&1 | tee -a "$out/tests.log" | tail -40
    [ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
  done
}

# What a tool looks at of the kernels' tests. memcheck: all but a thousand rounds of the ranks, and
# calls that CUDA is to refuse, which it reports;
# racecheck without the kernels that use barriers of a part of a block (ptx/named_barrier.cuh): of
# these it reports races that are not there, as it does of racecheck_probe's.
declare -A sanitized=(
  [memcheck]='-*AThousandRounds*:*CudaRefuses*'
  [racecheck]='*Norm*:*Rope*:QuantCuda*:IndexQuery*:KvWrite*:Window*:Hc*:Gate*:Swiglu*'
)
sanitized[racecheck]+=':MmaBlockScale*:*OneBlockScaledTile*:TileLinearCudaTest.Fp*:*Ties*:*Wild*'
# And memcheck of the engine's: all of tiny-v4, prompts in one chunk and in small ones, decode steps
# recorded and replayed, rows in another pool.
engine_sanitized='CudaGoldenTest.*AsReleased:CudaGoldenTest.*InSmallChunks'
engine_sanitized+=':CudaEngineTest.AnotherPoolGoesOn*'

# What racecheck makes of ways to meet: it must pass the right ones, but for `named`, `teams…` and
# `mbarrier_lane`, which not every thread of a block arrives at, and report the wrong ones.
probe_racecheck() {
  local name status
  for name in $("$bin/racecheck_probe"); do
    timeout 60 compute-sanitizer --tool racecheck --error-exitcode 9 "$bin/racecheck_probe" \
      "$name" >"$out/probe.$name.log" 2>&1
    status=$?
    case "$name" in
      named | teams* | mbarrier_lane) status="$status, known" ;;
      wrong_*) [ $status -eq 9 ] && status=0 || status=1 ;;
    esac
    echo "racecheck_probe $name: exit $status," \
      "$(grep -h 'RACECHECK SUMMARY' "$out/probe.$name.log")"
  done
}

# Tests under a tool: TOOL NAME BINARY FILTER. What its time limit ends counts as failed.
sanitize_tests() {
  local tool=$1 name=$2 log="$out/$1.$2.log"
  timeout 280 compute-sanitizer --tool "$tool" --error-exitcode 9 "$bin/$3" --gtest_filter="$4" \
    >"$log" 2>&1
  echo "$tool $name: exit $?, $(grep -c '       OK' "$log") tests passed;" \
    "$(grep -hE 'ERROR SUMMARY|RACECHECK SUMMARY' "$log")"
}

# One shard of the kernels' tests under one tool. They are a hundred times slower so: many at once
# share the GPU.
sanitize_shard() {
  GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$2 \
    sanitize_tests "$1" "$2" kernels_cuda_test "${sanitized[$1]}"
}

sanitize() {
  local tool shard shards=$(($(nproc) / 2))
  : >"$out/sanitize.log"  # appended to, for all write at once
  for tool in memcheck racecheck; do
    for ((shard = 0; shard < shards; ++shard)); do sanitize_shard $tool $shard & done
  done >>"$out/sanitize.log"
  sanitize_tests memcheck engine engine_cuda_test "$engine_sanitized" >>"$out/sanitize.log" &
  probe_racecheck >>"$out/sanitize.log"
  wait
  sort "$out/sanitize.log"
  ! grep -v 'exit 0\|known' "$out/sanitize.log" || failed=1
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
  if [ ${#families[@]} -eq 0 ] && [ "$(nvidia-smi -L | wc -l)" -gt 1 ]; then
    "$bin/all_reduce_bench" | tee "$out/all_reduce.md"
    [ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
  fi
}

for stage in "${stages[@]}"; do
  echo "== $stage"
  $stage
done
exit $failed
