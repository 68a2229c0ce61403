// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/mma.cuh"
#include "tests/bench/kernels/cuda/tile_peak.h"

namespace tandem::kernels {
namespace {

constexpr int kWarps = 8, kSums = 16, kRounds = 512, kGrid = 132 * 12;

// Sixteen independent sums a warp, as in a tile of 32 rows and 64 tokens.
__global__ void __launch_bounds__(32 * kWarps) PeakKernel(float* sink) {
  ptx::GridDependencyWait();
  float sums[kSums][4] = {};
  uint32_t a[2][4], b[kSums / 2][2];
  for (int i = 0; i < 8; ++i) a[i / 4][i % 4] = 0x3F803F80u + threadIdx.x * 0x10003u + i * 77777u;
  for (int i = 0; i < kSums; ++i) b[i / 2][i % 2] = 0xBF803F80u + threadIdx.x * 7919u + i * 31u;
  for (int round = 0; round < kRounds; ++round) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) ptx::MmaBf16(sums[i], a[i % 2], b[i / 2]);
  }
  float sum = 0;
  for (int i = 0; i < kSums; ++i) sum += sums[i][0] + sums[i][1] + sums[i][2] + sums[i][3];
  if (sum == 12345.0f) *sink = sum;  // keeps the products
}

}  // namespace

int64_t MmaSyncPeak(Stream& stream, float* sink) {
  cuda::Launch({.name = "peak", .grid = dim3(kGrid), .threads = 32 * kWarps}, stream, PeakKernel,
               sink);
  return int64_t{kGrid} * kWarps * kRounds * kSums * 16 * 8 * 16 * 2;
}

}  // namespace tandem::kernels
