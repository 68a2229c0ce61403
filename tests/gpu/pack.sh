#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What tests/gpu.sh needs on a machine that has a GPU but no packages: the programs of build/gpu,
# compiled for one target, and their libraries, as one archive.
#
#   tests/gpu/pack.sh [--target 90a] ARCHIVE.tar.xz
#
# There, in a copy of the source folder: tests/gpu/unpack.sh ARCHIVE.tar.xz, then
# tests/gpu.sh --bin build/gpu/bin. NCCL comes with that machine's PyTorch.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=90a
[ "${1:-}" != --target ] || { target=$2; shift 2; }
[ $# -eq 1 ] || { sed -n '6s/^# *//p' "$0" >&2; exit 2; }

programs=(kernels_cuda_test kernels_cuda_bench racecheck_probe engine_cuda_test parallel_cuda_test
  all_reduce_bench step_bench weights_cuda_test transfer_cuda_test services_cuda_test
  tandem tandem-router tandem-prefill tandem-decode)
cmake --preset cuda -B build/gpu -DTANDEM_CUDA_TARGETS="$target" >/dev/null
cmake --build build/gpu --target "${programs[@]}"

rm -rf build/gpu/pack
mkdir -p build/gpu/pack/lib
pwd >build/gpu/pack/source
for program in "${programs[@]}"; do
  strip -o "build/gpu/pack/$program" "build/gpu/bin/$program"
  ldd "build/gpu/bin/$program"
done | awk '/=> \// {print $3}' | sort -u |
  grep -vE '/(ld-linux|lib(c|m|dl|rt|pthread|resolv|cuda|nccl)\.so)' |
  xargs cp -Lt build/gpu/pack/lib
# The kernels are in most of the programs: a window over all of them finds them once.
tar -C build/gpu/pack -cf - . | xz -T1 -6 --lzma2=dict=256MiB >"$1"
rm -rf build/gpu/pack
du -h "$1"
