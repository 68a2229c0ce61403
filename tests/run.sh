#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The tests, from nothing: installs, builds and runs ctest for each named preset, and ends with one
# line `N passed, N failed`. Exits with 1 when anything failed, to build included. No stage runs
# label `image`, which compiles everything once more: `ctest --preset image`, as root.
#
#   tests/run.sh [dev] [release] [asan] [tsan] [cuda]        default: all
#
# A stage is a preset of CMakePresets.json; its test preset says which labels it runs. `cuda`
# compiles the CUDA table for every target where there is nvcc, and says so where there is none;
# what it computes is tested on a machine with a GPU, by tests/gpu.sh.
set -uo pipefail
export PATH="${PATH:-}${PATH:+:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export HOME="${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}"
export LC_ALL=C.UTF-8
cd "$(dirname "$0")/.." || exit 1
export CCACHE_BASEDIR="$PWD" CCACHE_NOHASHDIR=1

stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=(dev release asan tsan cuda)
for stage in "${stages[@]}"; do
  case "$stage" in
    dev | release | asan | tsan | cuda) ;;
    *) echo "usage: $0 [dev] [release] [asan] [tsan] [cuda]" >&2; exit 2 ;;
  esac
done

passed=0
failed=0

# Counts a whole stage as one failure when it could not even run.
give_up() {
  echo "tests/run.sh: $1" >&2
  failed=$((failed + 1))
}

# ctest's own summary: `98% tests passed, 1 tests failed out of 57`.
count() {
  local summary bad total
  summary=$(grep -E 'tests passed, [0-9]+ tests? failed out of [0-9]+' "$1" | tail -1)
  [ -n "$summary" ] || { give_up "no summary in $1"; return; }
  bad=$(sed -E 's/.* ([0-9]+) tests? failed.*/\1/' <<<"$summary")
  total=$(sed -E 's/.*out of ([0-9]+).*/\1/' <<<"$summary")
  passed=$((passed + total - bad))
  failed=$((failed + bad))
}

run_stage() {
  local stage=$1 log="build/$1-ctest.log" begin=$SECONDS built
  echo "== $stage"
  if [ "$stage" = cuda ] && ! PATH="$PATH:/usr/local/cuda/bin" command -v nvcc >/dev/null; then
    echo "cuda: no nvcc on this machine, so nothing of it was compiled"
    return
  fi
  cmake --preset "$stage" >"build/$stage-configure.log" 2>&1 ||
    { cat "build/$stage-configure.log"; give_up "$stage: cannot configure"; return; }
  cmake --build --preset "$stage" --parallel "$(nproc)" >"build/$stage-build.log" 2>&1 ||
    { grep -E 'error:|FAILED:|undefined reference' -A 5 "build/$stage-build.log" | tail -80
      give_up "$stage: cannot build, see build/$stage-build.log"; return; }
  built=$SECONDS
  ctest --preset "$stage" 2>&1 | tee "$log"
  count "$log"
  echo "== $stage: built in $((built - begin)) s, tested in $((SECONDS - built)) s"
}

mkdir -p build
if deploy/scripts/install_packages.sh test && tests/npm/install.sh; then
  for stage in "${stages[@]}"; do run_stage "$stage"; done
else
  give_up "cannot install"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
