// SPDX-License-Identifier: Apache-2.0
// The last sums of the streaming products (stream.cuh, stream_group.cuh): the parts of a row tile,
// in pairs, then those in ascending order, through shared memory.
//
// A lane's sums stay together, as the matrix product leaves them, and the first warps of a row tile
// add a column each. Internal to kernels/gemm.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/dtype.h"
#include "kernels/gemm/atom.cuh"
#include "kernels/gemm/stream_plan.h"
#include "kernels/ptx/async_copy.cuh"
#include "kernels/ptx/mbarrier.cuh"
#include "kernels/ptx/move_matrix.cuh"

namespace tandem::kernels::cuda {

// Sums of a warp's part.
template <int kColumns>
struct PartSums {
  float4 of[kColumns][32];  // tokens 8·column + 2c, 2c + 1 of row g; of row g + 8
};

template <int kColumns>
__device__ __forceinline__ void KeepPart(const float (&total)[1][kColumns][4],
                                         PartSums<kColumns>* sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int column = 0; column < kColumns; ++column) {
    const auto& v = total[0][column];
    sums->of[column][lane] = {v[0], v[1], v[2], v[3]};
  }
}

__device__ __forceinline__ float4 AddFour(const float4& a, const float4& b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}

// What a lane kept of kParts parts, `apart` bytes from one to the next; straight on: this is code
// that one warp runs once, while nothing else is left to do.
template <int kParts>
__device__ __forceinline__ float4 AddParts(const uint8_t* kept, int apart) {
  float4 part[kParts];
#pragma unroll
  for (int p = 0; p < kParts; ++p) part[p] = *reinterpret_cast<const float4*>(kept + p * apart);
  float4 sum = part[0];
  if constexpr (kParts > 1) sum = AddFour(sum, part[1]);
#pragma unroll
  for (int p = 2; p < kParts; p += 2) sum = AddFour(sum, AddFour(part[p], part[p + 1]));
  return sum;
}

// A column's sums of all parts: at most kStreamWarps, a power of two.
template <int kColumns>
__device__ __forceinline__ float4 AddParts(const PartSums<kColumns>* sums, int column, int apart,
                                           int parts) {
  const auto* kept = reinterpret_cast<const uint8_t*>(&sums->of[column][threadIdx.x % 32]);
  switch (parts) {
    case 1:
      return AddParts<1>(kept, apart);
    case 2:
      return AddParts<2>(kept, apart);
    case 4:
      return AddParts<4>(kept, apart);
    case 8:
      return AddParts<8>(kept, apart);
    default:
      return AddParts<kStreamWarps>(kept, apart);
  }
}

// Where the sums of a row tile go: y[tokens, n].
struct TileOutput {
  void* y;
  int n, first_row, tokens;
};

// The place of a column's sums there: made before they are known.
template <typename Output>
class TileStore;

template <>
class TileStore<float> {
 public:
  __device__ TileStore(const TileOutput& to, int column) : n_(to.n) {
    const Lane lane = ThisLane();
    const int token = 8 * column + 2 * lane.c, row = to.first_row + lane.g;
    at_ = static_cast<float*>(to.y) + int64_t{token} * to.n + row;
    tokens_left_ = to.tokens - token;
    rows_left_ = to.n - row;
  }
  __device__ void Store(const float4& sum) const {
    const float each[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = i % 2, row = 8 * (i / 2);
      if (token < tokens_left_ && row < rows_left_) at_[token * n_ + row] = each[i];
    }
  }

 private:
  float* at_;
  int n_, tokens_left_, rows_left_;
};

// Two rows of a token by a lane.
template <>
class TileStore<Bf16> {
 public:
  __device__ TileStore(const TileOutput& to, int column) {
    const Lane lane = ThisLane();
    const int token = 8 * column + lane.g, row = to.first_row + 2 * lane.c;
    at_ = static_cast<Bf16*>(to.y) + int64_t{token} * to.n + row;
    rows_left_ = token < to.tokens ? to.n - row : 0;
    in_words_ = to.n % kTileRows == 0 && reinterpret_cast<uintptr_t>(to.y) % 4 == 0;
  }
  __device__ void Store(const float4& sum) const {
    const uint32_t low = ptx::TransposeMatrix(PackBf16(sum.x, sum.y)),
                   high = ptx::TransposeMatrix(PackBf16(sum.z, sum.w));
    if (rows_left_ <= 0) return;
    if (in_words_) {
      auto* words = reinterpret_cast<uint32_t*>(at_);
      words[0] = low;
      words[4] = high;
      return;
    }
    const uint32_t each[4] = {low & 0xFFFFu, low >> 16, high & 0xFFFFu, high >> 16};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = 8 * (i / 2) + i % 2;
      if (row < rows_left_) at_[row] = Bf16{static_cast<uint16_t>(each[i])};
    }
  }

 private:
  Bf16* at_;
  int rows_left_;
  bool in_words_;
};

// Where the `parts` warps of a row tile meet.
class TeamBarrier {
 public:
  // By the whole warp. __syncthreads() before anyone uses it. `barrier`: 8 bytes, aligned to 8.
  __device__ TeamBarrier(const uint8_t* barrier, int part, int parts)
      : barrier_(ptx::SharedAddress(barrier)) {
    if (part == 0 && threadIdx.x % 32 == 0) ptx::InitMbarrier(barrier_, 32 * parts);
  }
  // By every thread: a warp's one arrival would do, but racecheck takes it for a race.
  __device__ void Arrive() const { ptx::ArriveMbarrier(barrier_); }
  __device__ void Wait() const { ptx::WaitMbarrier(barrier_, 0); }

 private:
  uint32_t barrier_;
};

}  // namespace tandem::kernels::cuda
