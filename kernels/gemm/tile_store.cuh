// SPDX-License-Identifier: Apache-2.0
// Sums of a tile (rows of weights by tokens) to device memory (tokens by rows) in bf16, or as
// codes. Internal to kernels/gemm and kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/gemm/fragment_order.h"
#include "kernels/ptx/move_matrix.cuh"

namespace tandem::kernels::cuda {

// Lanes 2n and 2n + 1 (kApart 1) or n and n + 2 (2) exchange: of the upper one's a and the lower
// one's b.
template <int kApart>
__device__ __forceinline__ void ExchangeLanes(int lane, uint32_t& a, uint32_t& b) {
  const bool upper = (lane & kApart) != 0;
  const uint32_t other = __shfl_xor_sync(0xFFFFFFFFu, upper ? a : b, kApart);
  (upper ? a : b) = other;
}

inline constexpr int kStoreBlocks = 4;  // at once: one alone would wait for itself four times

// Blocks of eight tokens, of each kMatrices fragments D (bf16 pairs of neighbouring tokens) of
// eight rows. y: the first token's first row. Rows from row_limit on and tokens from token_limit on
// are not written. A quad of lanes writes a token's rows, 16 bytes a lane (kMatrices 4) or 8.
template <int kMatrices>
__device__ __forceinline__ void StoreTokens(const uint32_t (&pairs)[kStoreBlocks][kMatrices],
                                            Bf16* y, int64_t stride, int token_limit,
                                            int row_limit) {
  static_assert(kMatrices == 2 || kMatrices == 4);
  const int lane = static_cast<int>(threadIdx.x) % 32, c = lane % 4;
  uint32_t words[kStoreBlocks][kMatrices];  // rows 2c, 2c + 1 of each, then 2·kMatrices of one
#pragma unroll
  for (int i = 0; i < kStoreBlocks * kMatrices; ++i) {
    words[i / kMatrices][i % kMatrices] = ptx::TransposeMatrix(pairs[i / kMatrices][i % kMatrices]);
  }
#pragma unroll
  for (int i = 0; i < kStoreBlocks * kMatrices; i += 2) {
    ExchangeLanes<1>(lane, words[i / kMatrices][i % kMatrices],
                     words[i / kMatrices][i % kMatrices + 1]);
  }
  if constexpr (kMatrices == 4) {
#pragma unroll
    for (int block = 0; block < kStoreBlocks; ++block) {
      ExchangeLanes<2>(lane, words[block][0], words[block][2]);
      ExchangeLanes<2>(lane, words[block][1], words[block][3]);
    }
  }
  const int row = kMatrices == 4 ? 8 * c : c % 2 * 8 + c / 2 * 4;
  constexpr int kRows = 2 * kMatrices;
#pragma unroll
  for (int block = 0; block < kStoreBlocks; ++block) {
    const int token = 8 * block + lane / 4;
    if (token >= token_limit) continue;
    const uint32_t(&w)[kMatrices] = words[block];
    Bf16* const to = y + token * stride + row;
    if (row + kRows <= row_limit && reinterpret_cast<uintptr_t>(to) % (2 * kRows) == 0) {
      if constexpr (kMatrices == 4) {
        *reinterpret_cast<uint4*>(to) = make_uint4(w[0], w[1], w[2], w[3]);
      } else {
        *reinterpret_cast<uint2*>(to) = make_uint2(w[0], w[1]);
      }
      continue;
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (row + i < row_limit) to[i].bits = static_cast<uint16_t>(w[i / 2] >> (16 * (i % 2)));
    }
  }
}

// One block of eight tokens of codes: pairs[h] are those of row g + 8h for tokens 2c and 2c + 1.
// codes: the first token's first row, aligned to 16. `buffer` (128 bytes of
// shared memory) may be written again after the next call with another buffer.
__device__ __forceinline__ void StoreTokenCodes(uint8_t* buffer, const uint16_t (&pairs)[2],
                                                uint8_t* codes, int64_t stride, int token_limit) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint8_t* const to = buffer + lane % 4 * 2 * kTileRows + lane / 4 + 8 * half;
    to[0] = static_cast<uint8_t>(pairs[half] & 0xFFu);
    to[kTileRows] = static_cast<uint8_t>(pairs[half] >> 8);
  }
  __syncwarp();
  if (lane >= 8 || lane >= token_limit) return;
  *reinterpret_cast<uint4*>(codes + lane * stride) =
      *reinterpret_cast<const uint4*>(buffer + lane * kTileRows);
}

}  // namespace tandem::kernels::cuda
