// SPDX-License-Identifier: Apache-2.0
// Sums of a tile (rows of weights by tokens) to device memory (tokens by rows) in bf16, or as
// codes. Internal to kernels/gemm and kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/gemm/fragment_order.h"
#include "kernels/ptx/store_matrix.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kStoreBytes = 1024;  // of shared memory a warp: two blocks of eight tokens

// One block of eight tokens: kMatrices fragments D (bf16 pairs of neighbouring tokens) of eight
// rows each. y: the first token's first row. Rows from row_limit on and tokens from token_limit on
// are not written. `buffer` (512 bytes) may be written again after the next call with another
// buffer.
template <int kMatrices>
__device__ __forceinline__ void StoreTokens(uint8_t* buffer, const uint32_t (&pairs)[kMatrices],
                                            Bf16* y, int64_t stride, int token_limit,
                                            int row_limit) {
  constexpr int kShift = kMatrices == 4 ? 1 : 2;  // rotates pieces so that banks do not clash
  const int lane = static_cast<int>(threadIdx.x) % 32;
  {
    const int token = lane % 8, piece = lane / 8 % kMatrices;
    ptx::StoreMatrixTransposed(
        buffer + (token * kMatrices + (piece ^ (token >> kShift) % kMatrices)) * 16, pairs);
  }
  __syncwarp();
  const int token = lane / kMatrices, piece = lane % kMatrices;
  if (token >= 8 || token >= token_limit) return;
  const uint4 values = *reinterpret_cast<const uint4*>(
      buffer + (token * kMatrices + (piece ^ (token >> kShift) % kMatrices)) * 16);
  Bf16* const to = y + token * stride + 8 * piece;
  const int rows = row_limit - 8 * piece;
  if (rows >= 8 && reinterpret_cast<uintptr_t>(to) % 16 == 0) {
    *reinterpret_cast<uint4*>(to) = values;
    return;
  }
  const uint32_t words[4] = {values.x, values.y, values.z, values.w};
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (i < rows) to[i].bits = static_cast<uint16_t>(words[i / 2] >> (16 * (i % 2)));
  }
}

// One block of eight tokens of codes: pairs[h] are those of row g + 8h for tokens 2c and 2c + 1.
// codes: the first token's first row, aligned to 16. `buffer` (128 bytes) as above.
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
