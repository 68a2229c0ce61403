# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by tests/gpu.sh: stage `sanitize`, compute-sanitizer over a part of the tests. Uses $bin,
# $out and sets $failed.

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
