// SPDX-License-Identifier: Apache-2.0
// How eight warps bring keys, 32 at a time, and multiply them with the queries.
//
// A tile's keys stand in shared memory as f16, for head_tiles.cuh: [32 rows][64 chunks of 16
// bytes], chunk c of row r at place c ^ (r % 8), so that what a warp stores or loads at once lies
// in different banks. Rows beyond the list's end are its last, or, of an empty list, anything. Warp
// w has dims 128·(w/2) .. +127 of keys 16·(w%2) .. +15, eight at a time. Lane 4·g + c loads 16
// neighbouring dims of key g from either 64: four k of m16n8k16, the order of k being ours to
// choose. So the same registers go to shared memory and, as B, into the products with the warp's
// dims of all queries, which it keeps in registers too. The four parts of a score meet in shared
// memory.
// Of 16 dims, the two chunks have pairs 0, 2, 4, 6 and 1, 3, 5, 7: then a lane of a product with
// both has four neighbouring dims. A k has two neighbouring pairs of a chunk, so that registers
// stand in the order in which both the product and the store want them.
// Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/key_rows.cuh"
#include "kernels/common/cuda/codec.cuh"
#include "kernels/ptx/mma.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kTileRowBytes = 2 * kHeadDim;
inline constexpr int kTileBytes = kTileKeys * kTileRowBytes;
inline constexpr int kPartDims = 2 * kKvTile;  // of a warp's part of a score
inline constexpr int kParts = kHeadDim / kPartDims;
inline constexpr uint32_t kMostScale = 127 + 7;  // under which every code is an f16

// Where 16-byte chunk c of row r stands in a tile.
__device__ __forceinline__ int TileOffset(int row, int chunk) {
  return row * kTileRowBytes + ((chunk ^ (row & 7)) << 4);
}
// Where keys 8·eight .. +7 of a head's scores stand: heads differ, so that a warp's accesses lie in
// different banks.
__device__ __forceinline__ int ScorePlace(int head, int eight) {
  return 8 * (eight ^ (head & 3));
}

template <int kM>  // tiles of 16 heads
using ScoreParts = float[kParts][16 * kM][kTileKeys];

// kRotated: the two warps whose second 64 dims are bf16. kSums: of a score by turns, lest products
// wait for each other.
template <int kM, bool kRotated, int kSums>
class KeyWarp {
 public:
  static constexpr int kEights = 2;  // of keys in a tile
  // A lane's part of eight keys as it stands in the rows.
  struct Raw {
    uint4 chunks[kRotated ? 3 : 2];
  };

  // `thread` counts through the key warps.
  __device__ __forceinline__ explicit KeyWarp(int thread)
      : part_(thread / 64), key_(thread / 32 % 2 * 16 + thread % 32 / 4), lane_(thread % 32) {}

  // Takes queries q[heads, 512]; those beyond are zero.
  __device__ __forceinline__ void LoadQueries(const Bf16* q, int heads) {
    q += kPartDims * part_ + 16 * (lane_ % 4);
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int head = 16 * m + 8 * half + lane_ / 4;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          // Pairs 4·(i%2) .. +3 of the lane's 16 dims: of k 0 and 2, or of 1 and 3.
          const Bf16* from = q + head * kHeadDim + kKvTile * (i / 2) + 8 * (i % 2);
          const uint4 v = head < heads ? *reinterpret_cast<const uint4*>(from) : uint4{};
          const int k = 4 * (i / 2) + i % 2;
          q_[m][k][half] = HalvesOfBf16(v.x);
          q_[m][k][2 + half] = HalvesOfBf16(v.z);
          q_[m][k + 2][half] = HalvesOfBf16(v.y);
          q_[m][k + 2][2 + half] = HalvesOfBf16(v.w);
        }
      }
    }
  }

  // Where this lane's key of an eight stands in the list, of the tile of rows first .. first +
  // valid−1.
  __device__ __forceinline__ int Place(int first, int valid, int eight) const {
    return first + max(min(key_ + 8 * eight, valid - 1), 0);
  }
  // The scales of its dims, two bytes an eight.
  __device__ __forceinline__ uint32_t Scales(const KeyRows& keys, int first, int valid) const {
    const auto of = [&](int eight) -> uint32_t {
      return reinterpret_cast<const uint16_t*>(keys.scales)[4 * Place(first, valid, eight) + part_];
    };
    static_assert(kEights == 2);
    return of(0) | of(1) << 16;
  }
  // Starts the loads of an eight of a row.
  __device__ __forceinline__ void Load(const uint8_t* row, Raw& raw) const {
    const int c = lane_ % 4;
    const uint8_t* data = row + kPartDims * part_ + 16 * c;
    raw.chunks[0] = LoadOnce(data);
    if constexpr (kRotated) {
      const uint8_t* rotated = row + kNopeDim + 32 * c;
      raw.chunks[1] = LoadOnce(rotated);
      raw.chunks[2] = LoadOnce(rotated + 16);
    } else {
      raw.chunks[1] = LoadOnce(data + kKvTile);
    }
  }

  // As B of eight k.
  struct Keys {
    uint32_t b[kPartDims / 16][2];
  };
  __device__ __forceinline__ void Widen(const Raw& raw, uint32_t scales, Keys& keys) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t(*const b)[2] = keys.b + 4 * half;
      if (kRotated && half == 1) {
        const uint4 v = raw.chunks[1], w = raw.chunks[kRotated ? 2 : 1];
        const uint32_t pairs[2][4] = {{v.x, v.z, w.x, w.z}, {v.y, v.w, w.y, w.w}};
#pragma unroll
        for (int i = 0; i < 8; ++i) b[i / 2][i % 2] = Rotated(pairs[i / 4][i % 4]);
      } else {
        const uint4 v = raw.chunks[half];
        const uint32_t codes[4] = {v.x, v.y, v.z, v.w}, byte = scales >> (8 * half) & 0xFFu;
        const float one = __uint_as_float(min(byte, kMostScale) << 23);
        const uint32_t scale = PackHalf(one, one);
#pragma unroll
        for (int i = 0; i < 8; ++i) b[i / 2][i % 2] = Pair(codes[i % 4], i / 4, scale);
      }
    }
  }

  // This warp's part of their scores.
  struct Scores {
    float s[kM][4];
  };
  __device__ __forceinline__ Scores Multiply(const Keys& keys) const {
    Scores sums[kSums] = {};
#pragma unroll
    for (int k = 0; k < kPartDims / 16; ++k) {
#pragma unroll
      for (int m = 0; m < kM; ++m) ptx::MmaF16(sums[k % kSums].s[m], q_[m][k], keys.b[k]);
    }
#pragma unroll
    for (int i = 0; i < 4 * kM * (kSums - 1); ++i) {
      sums[0].s[i / 4][i % 4] += sums[kSums - 1].s[i / 4][i % 4];
    }
    return sums[0];
  }
  // Puts both where they belong.
  __device__ __forceinline__ void Put(const Keys& keys, const Scores& scores, int eight,
                                      uint8_t* tile, ScoreParts<kM>& parts) const {
    const int to = TileOffset(key_, kPartDims / 8 * part_ + 2 * (lane_ % 4));
#pragma unroll
    for (int i = 0; i < kPartDims / 16; i += 2) {
      *reinterpret_cast<uint4*>(tile + (to ^ 16 * (i / 2 % 2)) + 2 * kKvTile * (i / 4) +
                                8 * kTileRowBytes * eight) =
          make_uint4(keys.b[i][0], keys.b[i][1], keys.b[i + 1][0], keys.b[i + 1][1]);
    }
    const int head = lane_ / 4;  // ScorePlace is the same eight heads further
    float* to_score = &parts[part_][head][ScorePlace(head, key_ / 8 + eight) + 2 * (lane_ % 4)];
#pragma unroll
    for (int m = 0; m < kM; ++m, to_score += 16 * kTileKeys) {
      *reinterpret_cast<float2*>(to_score) = make_float2(scores.s[m][0], scores.s[m][1]);
      *reinterpret_cast<float2*>(to_score + 8 * kTileKeys) =
          make_float2(scores.s[m][2], scores.s[m][3]);
    }
  }

 private:
  // Not .nc, which the compiler moves behind the barriers that follow: much of a tile later.
  __device__ static __forceinline__ uint4 LoadOnce(const uint8_t* address) {
    uint4 v;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(address));
    return v;
  }
  // Two of four codes, times their scale. As the next, not moved behind the loads of the next tile:
  // the machine waits for all loads under way before it reads what one of them brought.
  __device__ static __forceinline__ uint32_t Pair(uint32_t codes, int high, uint32_t scale) {
    const uint32_t pair = E4M3ToHalf2(static_cast<uint16_t>(high == 0 ? codes : codes >> 16));
    uint32_t product;
    asm volatile("mul.rn.f16x2 %0, %1, %2;" : "=r"(product) : "r"(pair), "r"(scale));
    return product;
  }
  __device__ static __forceinline__ uint32_t Rotated(uint32_t pair) {
    uint32_t halves;
    asm volatile("cvt.rn.f16x2.f32 %0, %1, %2;"
                 : "=r"(halves)
                 : "f"(HighBf16(pair)), "f"(LowBf16(pair)));
    return halves;
  }

  int part_, key_, lane_;
  uint32_t q_[kM][kPartDims / 16][4];
};

}  // namespace tandem::kernels::cuda
