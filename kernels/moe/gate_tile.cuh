// SPDX-License-Identifier: Apache-2.0
// w1 and w3 of an expert on a tile of tokens, gated and quantised. Internal to kernels/moe.
#pragma once

#include "kernels/gemm/tile_store.cuh"
#include "kernels/moe/grouped_product.cuh"
#include "kernels/quant/act_quant.h"

namespace tandem::kernels::cuda {

// silu in fp32: e^-x and the quotient within 2 ulp each; NaN stays NaN.
__device__ __forceinline__ float Gate(float a, float b, float limit, float weight) {
  a = RoundBf16(a), b = RoundBf16(b);
  a = a > limit ? limit : a;
  b = b < -limit ? -limit : b > limit ? limit : b;
  const float silu = __fdividef(a, 1.0f + expf(-a));
  return RoundBf16(weight * (silu * b));
}

// sums[0] and sums[1], w1·x and w3·x of 128 rows, to quantised gates.
template <class Shape>
__device__ __forceinline__ void StoreGates(uint8_t* shared, const TileRows& tile,
                                           const float* weight, float limit, int row, int64_t inner,
                                           const QuantisedRows& out, typename Shape::Sums& sums) {
  using Operands = OperandsOf<Shape>;
  float* const largest = reinterpret_cast<float*>(shared + kTileWarps * kStoreBytes);
  float* const scales = largest + kTileWarps * Shape::kTokens;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int j = 0; j < Shape::kBlocks; ++j) {
    if (8 * j >= tile.rows) break;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int token = 8 * j + lane % 4 * 2 + i;
      const float w = weight != nullptr && token < tile.rows ? weight[tile.begin + token] : 1.0f;
      float most = 0;
#pragma unroll
      for (int half = 0; half < 4; half += 2) {
        float& gate = sums[0][j][half + i];
        gate = Gate(Operands::Finish(gate), Operands::Finish(sums[1][j][half + i]), limit, w);
        most = fmaxf(most, fabsf(gate));
      }
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        most = fmaxf(most, __shfl_xor_sync(0xFFFFFFFFu, most, offset));
      }
      if (lane < 4) largest[warp * Shape::kTokens + token] = most;
    }
  }
  __syncthreads();
  if (threadIdx.x < Shape::kTokens) {
    float most = kE4M3Floor;
    for (int i = 0; i < kTileWarps; ++i) {
      most = fmaxf(most, largest[i * Shape::kTokens + threadIdx.x]);
    }
    const Ue8m0 scale = ScaleOf(most, kInverse448);
    scales[threadIdx.x] = ToFloat(scale);
    if (Shape::kMx && static_cast<int>(threadIdx.x) < tile.rows) {
      out.scale[(int64_t{tile.begin} + threadIdx.x) * (inner / kActGroup) + row / kActGroup] =
          scale.bits;
    }
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < Shape::kBlocks; ++j) {
    if (8 * j >= tile.rows) break;
    const float2 scale = *reinterpret_cast<const float2*>(scales + 8 * j + lane % 4 * 2);
    const float2 inverse = {1.0f / scale.x, 1.0f / scale.y};  // exact: powers of two
    uint16_t codes[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      codes[half] =
          PackE4M3(sums[0][j][2 * half] * inverse.x, sums[0][j][2 * half + 1] * inverse.y);
    }
    uint8_t* const buffer = shared + warp * kStoreBytes + j % 2 * 512;
    const int64_t at = int64_t{tile.begin + 8 * j} * inner + row;
    if constexpr (Shape::kMx) {
      StoreTokenCodes(buffer, codes, out.x + at, inner, tile.rows - 8 * j);
    } else {
      uint32_t pairs[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float2 v = E4M3ToFloat2(codes[half]);
        pairs[half] = PackBf16(v.x * scale.x, v.y * scale.y);
      }
      StoreTokens(buffer, pairs, reinterpret_cast<Bf16*>(out.x) + at, inner, tile.rows - 8 * j,
                  kTileRows);
    }
  }
}

// 128 rows of w1 and of w3 of one expert.
template <class Shape>
__device__ __forceinline__ void GateTile(uint8_t* shared, const Matrix (&w)[2], int64_t expert,
                                         const TileRows& tile, const TokenMatrix& x,
                                         const float* weight, float limit,
                                         const QuantisedRows& out) {
  const int row =
      (static_cast<int>(blockIdx.x) * kTileWarps + static_cast<int>(threadIdx.x) / 32) * kTileRows;
  WeightRows<2> rows;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    SetRowTile<Shape>(rows, m, w[m].prepared + expert * w[m].stride, w[m].n, w[m].k,
                      row / kTileRows);
  }
  typename Shape::Sums sums = {};
  TileProduct<Shape> product(shared, rows, Tokens<Shape>(tile, x), static_cast<int>(w[0].k));
  RunTile<Shape>(tile.rows, product, sums);
  StoreGates<Shape>(shared, tile, weight, limit, row, w[0].n, out, sums);
}

// blockIdx.x: 128 rows; blockIdx.y: a tile.
template <TileMath kMath, int kTokens>
__global__ void __launch_bounds__(kTileThreads, kBlocksAtOnce<kMath, kTokens>)
    GateKernel(GroupedProduct p) {
  extern __shared__ __align__(128) uint8_t shared[];
  ptx::GridDependencyWait();
  const int y = static_cast<int>(blockIdx.y);
  const int row = static_cast<int>(blockIdx.x) * kTileWarps * kTileRows;
  if (y < p.shared_tiles) {
    if (row >= p.shared[0].n) return;
    const TileRows tile = {y * kTokens, min(kTokens, p.tokens - y * kTokens), nullptr};
    GateTile<TileShape<kMath, kShared, 2, kTokens>>(shared, p.shared, 0, tile, p.shared_x, nullptr,
                                                    p.limit, p.shared_gates);
    return;
  }
  if (y - p.shared_tiles >= *p.rows.tile_count || row >= p.routed[0].n) return;
  const MoeTile t = p.rows.tiles[y - p.shared_tiles];
  GateTile<TileShape<kMath, kRouted, 2, kTokens>>(shared, p.routed, t.expert,
                                                  {t.begin, t.rows, p.rows.token}, p.x,
                                                  p.rows.weight, p.limit, p.gates);
}

template <TileMath kMath, int kTokens>
void LaunchGateTiles(const GroupedProduct& product, Stream& stream) {
  Launch({.name = "moe w1, w3",
          .grid = dim3(
              Blocks(std::max(product.routed[0].n, product.shared[0].n), kTileWarps * kTileRows),
              static_cast<unsigned>(product.shared_tiles + product.most_tiles)),
          .threads = kTileThreads,
          .shared_bytes = SharedBytes<kMath, kTokens>()},
         stream, GateKernel<kMath, kTokens>, product);
}

template <TileMath kMath>
void LaunchGates(int tile_tokens, const GroupedProduct& product, Stream& stream) {
  (tile_tokens == kFewTokens ? LaunchGateTiles<kMath, kFewTokens>
                             : LaunchGateTiles<kMath, kManyTokens>)(product, stream);
}

}  // namespace tandem::kernels::cuda
