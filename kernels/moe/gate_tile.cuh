// SPDX-License-Identifier: Apache-2.0
// w1 and w3 of an expert on a tile of tokens, gated and quantised: a Part of grouped_product.cuh.
// Internal to kernels/moe.
#pragma once

#include "kernels/gemm/tile_store.cuh"
#include "kernels/moe/grouped_product.cuh"
#include "kernels/ptx/fast_math.cuh"
#include "kernels/ptx/named_barrier.cuh"
#include "kernels/quant/act_quant.h"

namespace tandem::kernels::cuda {

// What a gate is made of, in units of the sums (kUnit): one multiplication less a value.
struct GateScale {
  float limit, exponent;  // of a and b; from a to the exponent of e^-a in base 2
};

// Gates of two tokens, rounded to bf16 as everything before them; silu in fp32: e^-a within
// 2^-21·max(1, |a|/8) of it, the quotient within 2 ulp. NaN stays NaN.
__device__ __forceinline__ uint32_t GatePair(float a0, float a1, float b0, float b1,
                                             const GateScale& scale, float2 weight) {
  const uint32_t pairs[2] = {PackBf16(a0, a1), PackBf16(b0, b1)};
  float gates[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float a = ptx::MinNan(i == 0 ? LowBf16(pairs[0]) : HighBf16(pairs[0]), scale.limit);
    const float b = ptx::MaxNan(
        ptx::MinNan(i == 0 ? LowBf16(pairs[1]) : HighBf16(pairs[1]), scale.limit), -scale.limit);
    const float silu = a * ptx::FastInverse(1.0f + ptx::FastPowerOf2(a * scale.exponent));
    gates[i] = (i == 0 ? weight.x : weight.y) * (silu * b);
  }
  return PackBf16(gates[0], gates[1]);
}

// A warp's row tiles are 16 rows of w1 and the same of w3; a block has the 128 rows of one scale.
class Gates {
 public:
  static constexpr int kBlockRows = kTileWarps * kTileRows;
  static constexpr bool kByToken = true;
  // Largest gates of a tile's tokens, as bits: of this tile, of the one before, of the next.
  template <int kTokens>
  static constexpr int kExtraBytes = 3 * kTokens * sizeof(int);
  static constexpr int kStoreBarrier = 1;

  template <int kTokens>
  static __device__ __forceinline__ void Clear(uint8_t* extra) {
    for (int i = static_cast<int>(threadIdx.x); i < 3 * kTokens;
         i += static_cast<int>(blockDim.x)) {
      reinterpret_cast<int*>(extra)[i] = 0;
    }
  }

  static __device__ __forceinline__ RowTile RowTileAt(const Matrix (&w)[2], int row_block, int i) {
    return {w[i % 2], int64_t{row_block} * kTileWarps + i / 2};
  }

  // Four blocks of eight tokens: w1·x and w3·x, sums[0] and sums[1], to gates, rows g and g + 8 of
  // two tokens in sums[0][j][0] and [1]; the warp's largest ones to `largest`.
  template <class Shape>
  static __device__ __forceinline__ void Apply(const GateScale& scale, float weight, int first,
                                               typename Shape::Sums& sums, int* largest) {
    const int lane = static_cast<int>(threadIdx.x) % 32, c = lane % 4;
    uint32_t most[kStoreBlocks];
#pragma unroll
    for (int n = 0; n < kStoreBlocks; ++n) {
      float(&a)[4] = sums[0][first + n], (&b)[4] = sums[1][first + n];
      const float2 weights = {__shfl_sync(0xFFFFFFFFu, weight, 8 * n + 2 * c),
                              __shfl_sync(0xFFFFFFFFu, weight, 8 * n + 2 * c + 1)};
      uint32_t gates[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        gates[half] =
            GatePair(a[2 * half], a[2 * half + 1], b[2 * half], b[2 * half + 1], scale, weights);
      }
      most[n] = ptx::MaxBf16(gates[0] & kMagnitudes, gates[1] & kMagnitudes);
      a[0] = __uint_as_float(gates[0]), a[1] = __uint_as_float(gates[1]);
    }
#pragma unroll
    for (int offset = 4; offset < 32; offset *= 2) {
#pragma unroll
      for (uint32_t& m : most) m = ptx::MaxBf16(m, __shfl_xor_sync(0xFFFFFFFFu, m, offset));
    }
    if (lane >= 4) return;
#pragma unroll
    for (int n = 0; n < kStoreBlocks; ++n) {
      int* const at = &largest[8 * (first + n) + 2 * c];
      atomicMax(at, static_cast<int>(most[n] << 16));
      atomicMax(at + 1, static_cast<int>(most[n] & 0xFFFF0000u));
    }
  }

  // Codes of a block's gates, in units of their tokens' scales (bf16 pair: powers of two).
  static __device__ __forceinline__ void Quantise(const float (&gates)[4], uint32_t scale,
                                                  uint16_t (&codes)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t q =
          MultiplyBf16(__float_as_uint(gates[half]), (254u << 7 | 254u << 23) - scale);
      codes[half] = PackE4M3(LowBf16(q), HighBf16(q));
    }
  }
  // Of tokens whose largest gates are these.
  static __device__ __forceinline__ uint32_t ScalePair(const int2& largest) {
    const uint32_t low = ScaleOf(fmaxf(kE4M3Floor, __int_as_float(largest.x)), kInverse448).bits;
    const uint32_t high = ScaleOf(fmaxf(kE4M3Floor, __int_as_float(largest.y)), kInverse448).bits;
    return low << 7 | high << 23;
  }

  template <class Shape>
  static __device__ __forceinline__ void Store(const GroupedProduct& p, const GroupedTile& tile,
                                               const StoreMemory& memory,
                                               typename Shape::Sums& sums) {
    constexpr int kTokens = Shape::kTokens;
    constexpr float kUnit = OperandsOf<Shape>::kUnit;
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    int* const all = reinterpret_cast<int*>(memory.extra);
    const int turn = memory.tile / static_cast<int>(gridDim.x);
    int* const largest = all + turn % 3 * kTokens;
    const auto weight_of = [&](int token) {
      const bool weighed = !tile.shared && token < tile.rows.rows;
      return (weighed ? p.rows.weight[tile.rows.begin + token] : 1.0f) * kUnit * kUnit;
    };
    float weight = weight_of(lane);
#pragma unroll
    for (int first = 0; first < Shape::kBlocks; first += kStoreBlocks) {
      if (8 * first >= tile.rows.rows) break;
      const float following = weight_of(8 * first + 32 + lane);
      Apply<Shape>({p.limit / kUnit, -kLog2E * kUnit}, weight, first, sums, largest);
      weight = following;
    }
    ptx::BarrierWait(kStoreBarrier, kTileThreads);
    // All have read what the tile before left there, and nobody is at the tile after the next.
    if (thread < kTokens) all[(turn + 2) % 3 * kTokens + thread] = 0;
    const int64_t inner = tile.weights(p)[0].n;
    const int row = (tile.row_block * kTileWarps + warp) * kTileRows;
    const QuantisedRows& out = tile.shared ? p.shared_gates : p.gates;
#pragma unroll
    for (int first = 0; first < Shape::kBlocks; first += kStoreBlocks) {
      const int64_t token = tile.rows.begin + 8 * first;
      const int rows = tile.rows.rows - 8 * first;
      if (rows <= 0) break;
      uint32_t pairs[kStoreBlocks][2];
#pragma unroll
      for (int n = 0; n < kStoreBlocks; ++n) {
        const uint32_t scale =
            ScalePair(*reinterpret_cast<const int2*>(largest + 8 * (first + n) + lane % 4 * 2));
        uint16_t codes[2];
        Quantise(sums[0][first + n], scale, codes);
        if constexpr (Shape::kMx) {
          StoreCodes(memory.shared + warp * 1024 + n % 2 * 512, codes, scale, out,
                     (token + 8 * n) * inner + row, inner, rows - 8 * n);
        } else {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const float2 v = E4M3ToFloat2(codes[half]);
            pairs[n][half] = MultiplyBf16(PackBf16(v.x, v.y), scale);
          }
        }
      }
      if constexpr (!Shape::kMx) {
        StoreTokens(pairs, reinterpret_cast<Bf16*>(out.x) + token * inner + row, inner, rows,
                    kTileRows);
      }
    }
  }

  // A block's codes and, by the block's first warp, its scales. at: of the first token's first row.
  static __device__ __forceinline__ void StoreCodes(uint8_t* buffer, const uint16_t (&codes)[2],
                                                    uint32_t scale, const QuantisedRows& out,
                                                    int64_t at, int64_t inner, int rows) {
    StoreTokenCodes(buffer, codes, out.x + at, inner, rows);
    const int thread = static_cast<int>(threadIdx.x);
    if (thread >= 4) return;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int token = 2 * thread + i;
      if (token >= rows) continue;
      out.scale[at / kActGroup + token * (inner / kActGroup)] =
          static_cast<uint8_t>(scale >> (7 + 16 * i));
    }
  }

 private:
  static constexpr uint32_t kMagnitudes = 0x7FFF7FFFu;
  static constexpr float kLog2E = 1.4426950408889634f;
};

template <TileMath kMath>
void LaunchGates(int tile_tokens, const GroupedProduct& product, Stream& stream) {
  LaunchGrouped<Gates, kMath>("moe w1, w3", tile_tokens, product, stream);
}

}  // namespace tandem::kernels::cuda
