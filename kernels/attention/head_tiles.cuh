// SPDX-License-Identifier: Apache-2.0
// How eight warps of a block attend with 16 or 32 heads of one token to the tiles of key_tiles.cuh.
//
// A tile's work, heads being the rows of m16n8k16:
//   scores   warp w multiplies dims 128·(w/2) .. +127 of 16 queries, which it keeps in registers,
//            with keys: of 32 heads, those of tile w%2 with all keys; of 16, keys 16·(w%2) .. +15.
//            The four parts of a score meet in shared memory
//   softmax  a head's 32 scores in 8 (or 16) neighbouring lanes: running maximum and sum, bf16 of
//            the exponentials and the factor for what was summed so far to shared memory
//   values   warp w sums dims 64·w .. +63 of all heads over the tile's keys; a key is its own value
// Exponentials are base 2: scores come multiplied by scale·log2 e. Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/key_tiles.cuh"
#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/ptx/mma.cuh"
#include "kernels/ptx/named_barrier.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kHeadWarps = 8;
inline constexpr int kHeadThreads = 32 * kHeadWarps;
inline constexpr int kPartStride = kTileKeys + 8;    // floats: float2 stores of 8 rows in all banks
inline constexpr int kWeightStride = kTileKeys + 8;  // bf16: 8 rows' 16 bytes in all banks
inline constexpr int kPartDims = 128;                // of a warp's part of a score
inline constexpr int kParts = kHeadDim / kPartDims;
inline constexpr int kValueDims = kHeadDim / kHeadWarps;  // of a warp's sums
inline constexpr float kNoScore = -INFINITY;

__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// What the eight warps share.
template <int kM>  // tiles of 16 heads
struct HeadShare {
  float parts[kParts][16 * kM][kPartStride];
  Bf16 weights[16 * kM][kWeightStride];
  float factors[16 * kM];
  float inverse[16 * kM];
};

template <int kM>
class HeadTiles {
 public:
  static constexpr int kHeads = 16 * kM;
  static constexpr int kLanes = kHeadThreads / kHeads;  // that share a head's softmax
  static constexpr int kScores = kTileKeys / kLanes;    // of a lane
  using Share = HeadShare<kM>;

  // `thread` is 0..255.
  __device__ __forceinline__ HeadTiles(Share* share, int thread, int barrier)
      : share_(share), thread_(thread), barrier_(barrier) {}

  // Takes queries q[heads, 512] into registers by way of a tile's memory; rows beyond are zero.
  __device__ __forceinline__ void LoadQueries(const Bf16* q, int heads, uint8_t* tile) {
    constexpr int kChunks = kTileRowBytes / 16, kRowStep = kHeadThreads / kChunks;
    const int chunk = thread_ % kChunks, first = thread_ / kChunks;
    uint4 values[kHeads / kRowStep];
#pragma unroll
    for (int i = 0; i < kHeads / kRowStep; ++i) {
      const int row = first + kRowStep * i;
      values[i] = row < heads ? *reinterpret_cast<const uint4*>(q + row * kHeadDim + 8 * chunk)
                              : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int i = 0; i < kHeads / kRowStep; ++i) {
      *reinterpret_cast<uint4*>(tile + TileOffset(first + kRowStep * i, chunk)) = values[i];
    }
    Meet();
    const uint32_t from =
        ptx::SharedAddress(tile) +
        TileOffset(16 * head_tile() + lane() % 16, part() * (kPartDims / 8) + lane() / 16);
#pragma unroll
    for (int k = 0; k < kPartDims / 16; ++k) {
      ptx::LoadMatrix4(q_[k], (from ^ (2 * k % 8 << 4)) + 2 * k / 8 * 128);
    }
  }

  // Attends to a tile with `valid` keys, times `scale`; the tile by its shared address.
  __device__ __forceinline__ void Attend(uint32_t tile, int valid, float scale) {
    Scores(tile);
    Meet();
    const bool rose = Softmax(valid, scale);
    if (ptx::BarrierAny(barrier_, kHeadThreads, rose)) Rescale();
    Values(tile);
  }

  // The sum of a head's exponentials, and their maximum; complete in the head's lanes.
  __device__ __forceinline__ float Total() const {
    return WarpReduce<kLanes>(total_, Sum());
  }
  __device__ __forceinline__ float most() const {
    return most_;
  }
  __device__ __forceinline__ int head() const {
    return thread_ / kLanes;
  }
  __device__ __forceinline__ bool first_lane() const {
    return thread_ % kLanes == 0;
  }

  // The sums times share.inverse to out[heads, 512] as bf16, by way of a tile's memory. All warps
  // have met since that was written.
  __device__ __forceinline__ void WriteOut(Bf16* out, int heads, uint8_t* tile) const {
    const int g = lane() / 4, c = lane() % 4;
    uint8_t* mine = tile + warp() * kHeads * 2 * kValueDims;  // [heads][8 chunks], swizzled
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = 16 * m + 8 * half + g;
        const float inverse = share_->inverse[row];
#pragma unroll
        for (int n = 0; n < kValueDims / 8; ++n) {
          *reinterpret_cast<uint32_t*>(mine + row * 2 * kValueDims + ((n ^ (row & 7)) << 4) +
                                       4 * c) =
              PackBf16(sums_[m][n][2 * half] * inverse, sums_[m][n][2 * half + 1] * inverse);
        }
      }
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kHeads / 4; ++i) {
      const int row = 4 * i + lane() / 8, chunk = lane() % 8;
      if (row < heads) {
        *reinterpret_cast<uint4*>(out + row * kHeadDim + warp() * kValueDims + 8 * chunk) =
            *reinterpret_cast<const uint4*>(mine + row * 2 * kValueDims +
                                            ((chunk ^ (row & 7)) << 4));
      }
    }
  }

  // The sums themselves to out[heads], `stride` floats apart.
  __device__ __forceinline__ void WriteSums(float* out, int64_t stride, int heads) const {
    const int g = lane() / 4, c = lane() % 4;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = 16 * m + 8 * half + g;
        if (row >= heads) continue;
#pragma unroll
        for (int n = 0; n < kValueDims / 8; ++n) {
          *reinterpret_cast<float2*>(out + row * stride + warp() * kValueDims + 8 * n + 2 * c) =
              make_float2(sums_[m][n][2 * half], sums_[m][n][2 * half + 1]);
        }
      }
    }
  }

  __device__ __forceinline__ void Meet() const {
    ptx::BarrierWait(barrier_, kHeadThreads);
  }

 private:
  __device__ __forceinline__ int lane() const {
    return thread_ % 32;
  }
  __device__ __forceinline__ int warp() const {
    return thread_ / 32;
  }
  __device__ __forceinline__ int part() const {
    return warp() / 2;
  }

  __device__ __forceinline__ int head_tile() const {
    return kM == 1 ? 0 : warp() % 2;
  }

  __device__ __forceinline__ void Scores(uint32_t tile) {
    const int keys = kM == 1 ? 16 * (warp() % 2) : 0;
    // Matrices: keys 0..7 of the low and the high eight dims, then keys 8..15.
    const int row = keys + lane() / 16 * 8 + lane() % 8;
    const uint32_t first = tile + TileOffset(row, part() * (kPartDims / 8) + lane() / 8 % 2);
    float s[2 * kM][4] = {};
#pragma unroll
    for (int k = 0; k < kPartDims / 16; ++k) {
#pragma unroll
      for (int n = 0; n < kM; ++n) {
        uint32_t b[4];
        ptx::LoadMatrix4(b, (first ^ (2 * k % 8 << 4)) + 2 * k / 8 * 128 + 16 * n * kTileRowBytes);
        const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
        ptx::MmaBf16(s[2 * n], q_[k], low);
        ptx::MmaBf16(s[2 * n + 1], q_[k], high);
      }
    }
    float* to = &share_->parts[part()][16 * head_tile() + lane() / 4][keys + lane() % 4 * 2];
#pragma unroll
    for (int n = 0; n < 2 * kM; ++n) {
      *reinterpret_cast<float2*>(to + 8 * n) = make_float2(s[n][0], s[n][1]);
      *reinterpret_cast<float2*>(to + 8 * n + 8 * kPartStride) = make_float2(s[n][2], s[n][3]);
    }
  }

  // Returns whether the head's maximum rose.
  __device__ __forceinline__ bool Softmax(int valid, float scale) {
    const int first = thread_ % kLanes * kScores;
    float s[kScores];
#pragma unroll
    for (int i = 0; i < kScores; i += 2) {
      float2 p[kParts];
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        p[part] = *reinterpret_cast<const float2*>(&share_->parts[part][head()][first + i]);
      }
      s[i] = ((p[0].x + p[1].x) + (p[2].x + p[3].x)) * scale;
      s[i + 1] = ((p[0].y + p[1].y) + (p[2].y + p[3].y)) * scale;
    }
    float most = kNoScore;
#pragma unroll
    for (int i = 0; i < kScores; ++i) {
      if (first + i >= valid) s[i] = kNoScore;
      most = fmaxf(most, s[i]);
    }
    most = fmaxf(most_, WarpReduce<kLanes>(most, Max()));
    const float factor = Exp2(most_ - most);
    total_ *= factor;
    most_ = most;
    uint32_t weights[kScores / 2];
#pragma unroll
    for (int i = 0; i < kScores; i += 2) {
      const float a = Exp2(s[i] - most), b = Exp2(s[i + 1] - most);
      total_ += a + b;
      weights[i / 2] = PackBf16(a, b);
    }
    uint32_t* to = reinterpret_cast<uint32_t*>(&share_->weights[head()][first]);
#pragma unroll
    for (int i = 0; i < kScores / 2; ++i) to[i] = weights[i];
    if (first_lane()) share_->factors[head()] = factor;
    return factor != 1;
  }

  __device__ __forceinline__ void Values(uint32_t tile) {
    // Matrices: keys 0..7 and 8..15 of eight dims, then of the next eight.
    const uint32_t first = tile + TileOffset(lane() % 16, warp() * (kValueDims / 8) + lane() / 16);
#pragma unroll
    for (int k = 0; k < kTileKeys / 16; ++k) {
      uint32_t a[kM][4];
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        ptx::LoadMatrix4(a[m], &share_->weights[16 * m + lane() % 16][16 * k + lane() / 16 * 8]);
      }
#pragma unroll
      for (int n = 0; n < kValueDims / 8; n += 2) {
        uint32_t b[4];
        ptx::LoadMatrix4Transposed(b, (first ^ (n << 4)) + 16 * k * kTileRowBytes);
        const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
#pragma unroll
        for (int m = 0; m < kM; ++m) {
          ptx::MmaBf16(sums_[m][n], a[m], low);
          ptx::MmaBf16(sums_[m][n + 1], a[m], high);
        }
      }
    }
  }

  // What was summed so far to the new maxima; most tiles bring none.
  __device__ __forceinline__ void Rescale() {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float factor = share_->factors[16 * m + 8 * half + lane() / 4];
#pragma unroll
        for (int n = 0; n < kValueDims / 8; ++n) {
          sums_[m][n][2 * half] *= factor;
          sums_[m][n][2 * half + 1] *= factor;
        }
      }
    }
  }

  Share* share_;
  int thread_;
  int barrier_;
  uint32_t q_[kPartDims / 16][4];
  float sums_[kM][kValueDims / 8][4] = {};
  float most_ = kNoScore;
  float total_ = 0;  // this lane's part
};

}  // namespace tandem::kernels::cuda
