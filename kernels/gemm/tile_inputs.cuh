// SPDX-License-Identifier: Apache-2.0
// Inputs of many tokens as their tiles want them: bf16, in whole tiles. For one translation unit.
// Internal to kernels/gemm.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/cuda/launch.h"
#include "kernels/common/dtype.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/quant/act_quant.h"

namespace tandem::kernels::cuda {
namespace {

constexpr int kExpandThreads = 256, kExpandPieces = 4;

// Codes times their scale are exact in bf16. A thread takes kExpandPieces times eight codes, a warp
// stores 512 bytes side by side. Zeroes words that the product wants so.
__global__ void __launch_bounds__(kExpandThreads)
    ExpandKernel(const E4M3* q, const Ue8m0* scale, Bf16* x, int64_t pieces, uint32_t* ready,
                 int readies) {
  ptx::GridDependencyWait();
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t first = int64_t{blockIdx.x} * kExpandThreads * kExpandPieces + thread;
  for (int64_t i = int64_t{blockIdx.x} * kExpandThreads + thread; i < readies;
       i += int64_t{gridDim.x} * kExpandThreads) {
    ready[i] = 0;
  }
  uint2 codes[kExpandPieces];
  float s[kExpandPieces];
#pragma unroll
  for (int i = 0; i < kExpandPieces; ++i) {
    const int64_t piece = min(first + i * kExpandThreads, pieces - 1);
    codes[i] = reinterpret_cast<const uint2*>(q)[piece];
    s[i] = ToFloat(scale[piece / (kActGroup / 8)]);
  }
#pragma unroll
  for (int i = 0; i < kExpandPieces; ++i) {
    if (first + i * kExpandThreads >= pieces) break;
    const uint32_t words[2] = {codes[i].x, codes[i].y};
    uint32_t out[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float2 v = E4M3ToFloat2(static_cast<uint16_t>(words[j / 2] >> (16 * (j % 2))));
      out[j] = PackBf16(v.x * s[i], v.y * s[i]);
    }
    reinterpret_cast<uint4*>(x)[first + i * kExpandThreads] =
        make_uint4(out[0], out[1], out[2], out[3]);
  }
}

// Rows of k values to rows of `columns`, filled up with zeros.
__global__ void __launch_bounds__(kExpandThreads)
    FillUpKernel(const Bf16* x, Bf16* filled, int64_t rows, int64_t k, int64_t columns) {
  ptx::GridDependencyWait();
  const int64_t i = blockIdx.x * int64_t{kExpandThreads} + threadIdx.x;
  if (i >= rows * columns) return;
  const int64_t column = i % columns;
  filled[i] = column < k ? x[i / columns * k + column] : Bf16{0};
}

// x if its rows are whole tiles and aligned, else a copy with such rows.
inline const Bf16* WholeTiles(const Bf16* x, int64_t rows, int64_t k, int64_t columns,
                              Scratch& scratch, Stream& stream) {
  if (k == columns && reinterpret_cast<uintptr_t>(x) % 16 == 0) return x;
  Bf16* const filled = scratch.Take<Bf16>(rows * columns);
  Launch({.name = "fill up",
          .grid = dim3(Blocks(rows * columns, kExpandThreads)),
          .threads = kExpandThreads},
         stream, FillUpKernel, x, filled, rows, k, columns);
  return filled;
}

}  // namespace
}  // namespace tandem::kernels::cuda
