// SPDX-License-Identifier: Apache-2.0
// How eight warps of a block attend with 16 or 32 heads of one token to the tiles of key_tiles.cuh.
//
// Heads are the rows of m16n8k16:
//   softmax  a head's 32 scores in 8 neighbouring lanes: exponentials, rounded to bf16, to shared
//            memory as f16. The maximum under which they stand, and what was summed so far, follow
//            the scores only when these rise 2^8 above it: most tiles neither look for a maximum
//            nor rescale
//   values   warp w sums dims 64·w .. +63 of all heads over the tile's keys; a key is its own value
// Exponentials are base 2: scores come multiplied by scale·log2 e. Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/cluster.cuh"
#include "kernels/attention/key_tiles.cuh"
#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/ptx/mma.cuh"
#include "kernels/rope/angles.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kHeadWarps = 8;
inline constexpr int kHeadThreads = 32 * kHeadWarps;
inline constexpr int kValueDims = kHeadDim / kHeadWarps;  // of a warp's sums
inline constexpr int kHeadLanes = 8;                      // that share a head's softmax
inline constexpr int kLaneKeys = kTileKeys / kHeadLanes;
inline constexpr float kNoScore = -INFINITY;
inline constexpr float kSlack = 8;  // how far scores may stand above the maximum in use

__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// What the warps share; weights, factors and inverse for two tiles by turns.
template <int kM>
struct HeadShare {
  ScoreParts<kM> parts;
  uint16_t weights[2][16 * kM][kTileKeys];  // f16
  float factors[2][8][2 * kM];              // of head 8·i + g at [g][i]
  float inverse[2][16 * kM];
};

// Where keys 8·eight .. +7 of a head's weights stand, as ScorePlace, for what ldmatrix reads.
__device__ __forceinline__ int WeightPlace(int head, int eight) {
  return 8 * (eight ^ (head / 2 & 3));
}

__device__ __forceinline__ void Store(float* to, const float (&v)[4]) {
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(v[0]), "f"(v[1]),
               "f"(v[2]), "f"(v[3])
               : "memory");
}
__device__ __forceinline__ void Store(Bf16* to, const uint2& v) {
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(v.x), "r"(v.y) : "memory");
}

// cos and sin [T, 32], null if nothing is to be turned back, and a token's first.
struct OutAngles {
  const float* cos;
  const float* sin;
  int first;
};
// Not before they are wanted: between the sums there is no register for them.
__device__ __forceinline__ float2 LoadAngles(const float* from) {
  float2 two;
  asm volatile("ld.global.nc.v2.f32 {%0, %1}, [%2];" : "=f"(two.x), "=f"(two.y) : "l"(from));
  return two;
}
// Four neighbouring values of an output from dim `dim` on, turned back where they are to be.
__device__ __forceinline__ void TurnBack(uint2& v, const OutAngles& angles, int dim) {
  if (angles.cos == nullptr || dim < kNopeDim) return;
  const int at = angles.first + (dim - kNopeDim) / 2;
  const float2 c = LoadAngles(angles.cos + at), s = LoadAngles(angles.sin + at);
  v = make_uint2(RotatePair(v.x, c.x, -s.x), RotatePair(v.y, c.y, -s.y));
}

template <int kM>
class HeadTiles {
 public:
  using Share = HeadShare<kM>;

  // `thread` is 0..255.
  __device__ __forceinline__ HeadTiles(Share* share, int thread) : share_(share), thread_(thread) {}

  // A tile's scores into registers.
  using Scores = float[kLaneKeys];
  __device__ __forceinline__ void TakeScores(Scores& s) const {
    if (!has_scores()) return;
    const int head = thread_ / kHeadLanes, key = first_key();
    const float* from = &share_->parts[0][head][ScorePlace(head, key / 8) + key % 8];
    float4 p[kParts];
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      p[part] = *reinterpret_cast<const float4*>(from + part * kHeads * kTileKeys);
    }
    s[0] = (p[0].x + p[1].x) + (p[2].x + p[3].x);
    s[1] = (p[0].y + p[1].y) + (p[2].y + p[3].y);
    s[2] = (p[0].z + p[1].z) + (p[2].z + p[3].z);
    s[3] = (p[0].w + p[1].w) + (p[2].w + p[3].w);
  }
  // Their softmax, of `valid` keys, to share.weights[turn].
  __device__ __forceinline__ void Softmax(Scores& s, int valid, float scale, int turn) {
    if (!has_scores()) return;
    const int head = thread_ / kHeadLanes, key = first_key();
#pragma unroll
    for (int i = 0; i < kLaneKeys; ++i) s[i] = key + i < valid ? s[i] * scale : kNoScore;
    const float highest = fmaxf(fmaxf(s[0], s[1]), fmaxf(s[2], s[3]));
    float factor = 1;
    if (__any_sync(0xFFFFFFFFu, highest - most_ > kSlack)) {
      const float most = WarpReduce<kHeadLanes>(highest, Max());
      if (most - most_ > kSlack) {
        factor = Exp2(most_ - most);
        total_ *= factor;
        most_ = most;
      }
    }
    const float under = most_ == kNoScore ? 0 : most_;  // no key yet, so none here
#pragma unroll
    for (float& score : s) score = Exp2(score - under);
    total_ += (s[0] + s[1]) + (s[2] + s[3]);
    *reinterpret_cast<uint2*>(&share_->weights[turn][head][WeightPlace(head, key / 8) + key % 8]) =
        make_uint2(HalvesOfBf16(PackBf16(s[0], s[1])), HalvesOfBf16(PackBf16(s[2], s[3])));
    if (key == 0) share_->factors[turn][head % 8][head / 8] = factor;
  }
  // Of a tile's values, those of the step at hand and of the next, which are on their way.
  static constexpr int kAhead = 2;
  using Values = uint32_t[kAhead + 1][4];
  // Starts to load them: a tile's are there before its weights are.
  __device__ __forceinline__ void BeginValues(uint32_t tile, Values& b) const {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) LoadValues(tile, i, b);
  }
  // Adds the tile's values.
  __device__ __forceinline__ void AddValues(uint32_t tile, int turn, Values& b) {
    const int row = lane() % 16;
    uint32_t a[kM][4];
    const auto take = [&](int k) {
#pragma unroll
      for (int i = 0; i < kM; ++i) {  // WeightPlace is the same 16 further
        ptx::LoadMatrix4(
            a[i], &share_->weights[turn][16 * i + row][WeightPlace(row, 2 * k + lane() / 16)]);
      }
    };
    take(0);
    Rescale(turn);
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const int pair = i % kPairs;
      if (i + kAhead < kSteps) LoadValues(tile, i + kAhead, b);
      if (i == kPairs) take(1);
      const uint32_t(&four)[4] = b[i % (kAhead + 1)];
      const uint32_t low[2] = {four[0], four[1]}, high[2] = {four[2], four[3]};
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        ptx::MmaF16(sums_[m][2 * pair], a[m], low);
        ptx::MmaF16(sums_[m][2 * pair + 1], a[m], high);
      }
    }
  }

  // The sum of a head's exponentials, and the maximum under which they stand; complete in the
  // head's lanes. Begins anew.
  struct Denominator {
    float most;
    float total;
  };
  __device__ __forceinline__ Denominator TakeDenominator() {
    const Denominator mine = {most_, WarpReduce<kHeadLanes>(total_, Sum())};
    most_ = kNoScore;
    total_ = 0;
    return mine;
  }
  // The head that this lane speaks for; −1: none.
  __device__ __forceinline__ int head() const {
    return has_scores() && thread_ % kHeadLanes == 0 ? thread_ / kHeadLanes : -1;
  }

  // The sums times share.inverse[turn] to out[heads, 512] as bf16, turned back. Begins anew.
  __device__ __forceinline__ void TakeOut(Bf16* out, int heads, int turn, const OutAngles& angles) {
    ForRows(heads, [&](int row, int dim, const float(&v)[4]) {
      const float inverse = share_->inverse[turn][row];
      uint2 four = make_uint2(PackBf16(v[0] * inverse, v[1] * inverse),
                              PackBf16(v[2] * inverse, v[3] * inverse));
      TurnBack(four, angles, dim);
      Store(out + row * kHeadDim + dim, four);
    });
  }
  // The sums themselves to out[heads], `stride` floats apart. Begins anew.
  __device__ __forceinline__ void TakeSums(float* out, int64_t stride, int heads) {
    ForRows(heads,
            [&](int row, int dim, const float(&v)[4]) { Store(out + row * stride + dim, v); });
  }

  // The sums times weights[heads] to another block's memory, all lanes' four values one after the
  // other, rows before dims.
  __device__ __forceinline__ void SendSums(uint32_t to, const float* weights) const {
    to += 16 * lane();
#pragma unroll
    for (int i = 0; i < 2 * kM; ++i) {
      const float weight = weights[8 * i + lane() / 4];
      const int at = 2 * (i % 2);
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) {
        const float(&low)[4] = sums_[i / 2][2 * pair];
        const float(&high)[4] = sums_[i / 2][2 * pair + 1];
        ClusterStore(to + 512 * (kPairs * i + pair),
                     make_float4(low[at] * weight, low[at + 1] * weight, high[at] * weight,
                                 high[at + 1] * weight));
      }
    }
  }

 private:
  static constexpr int kHeads = 16 * kM;
  static constexpr int kPairs = kValueDims / 16;  // of eight dims
  static constexpr int kSteps = kTileKeys / 16 * kPairs;

  // Of step i. Matrices: keys 0..7 and 8..15 of a chunk, then of the next.
  __device__ __forceinline__ void LoadValues(uint32_t tile, int i, Values& b) const {
    const uint32_t from = tile + TileOffset(lane() % 16, warp() * (kValueDims / 8) + lane() / 16);
    ptx::LoadMatrix4Transposed(b[i % (kAhead + 1)],
                               (from ^ (i % kPairs << 5)) + 16 * (i / kPairs) * kTileRowBytes);
  }

  __device__ __forceinline__ int lane() const {
    return thread_ % 32;
  }
  __device__ __forceinline__ int warp() const {
    return thread_ / 32;
  }
  // Whether this warp has heads in the softmax.
  __device__ __forceinline__ bool has_scores() const {
    return kM == 2 || warp() < kHeads * kHeadLanes / 32;
  }

  __device__ __forceinline__ int first_key() const {
    return kLaneKeys * (thread_ % kHeadLanes);
  }
  // What was summed so far to the new maxima, where there are any.
  __device__ __forceinline__ void Rescale(int turn) {
    float factors[2 * kM];
    bool any = false;
#pragma unroll
    for (int i = 0; i < kM; ++i) {
      const float2 two =
          *reinterpret_cast<const float2*>(&share_->factors[turn][lane() / 4][2 * i]);
      factors[2 * i] = two.x;
      factors[2 * i + 1] = two.y;
      any = any || two.x != 1 || two.y != 1;
    }
    if (!__any_sync(0xFFFFFFFFu, any)) return;
#pragma unroll
    for (int i = 0; i < 2 * kM; ++i) {
#pragma unroll
      for (int n = 0; n < kValueDims / 8; ++n) {
        sums_[i / 2][n][2 * (i % 2)] *= factors[i];
        sums_[i / 2][n][2 * (i % 2) + 1] *= factors[i];
      }
    }
  }

  // Hands over all sums, four neighbouring dims at a time, and zeroes them.
  template <typename Take>
  __device__ __forceinline__ void ForRows(int heads, const Take& take) {
    // Asked anew, lest what is made of it stay in registers through all tiles.
    const int thread = ThisThread(), lane = thread % 32, warp = thread / 32;
#pragma unroll
    for (int i = 0; i < 2 * kM; ++i) {
      const int row = 8 * i + lane / 4;
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) {
        float(&low)[4] = sums_[i / 2][2 * pair];
        float(&high)[4] = sums_[i / 2][2 * pair + 1];
        const int at = 2 * (i % 2);
        const float v[4] = {low[at], low[at + 1], high[at], high[at + 1]};
        if (row < heads) take(row, warp * kValueDims + 16 * pair + 4 * (lane % 4), v);
        low[at] = low[at + 1] = high[at] = high[at + 1] = 0;
      }
    }
  }

  Share* share_;
  int thread_;
  float sums_[kM][kValueDims / 8][4] = {};
  float most_ = kNoScore;
  float total_ = 0;  // this lane's part
};

}  // namespace tandem::kernels::cuda
