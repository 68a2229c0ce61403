// SPDX-License-Identifier: Apache-2.0
// How the blocks that multiply tell the block that finishes a token, within one kernel: words in
// the queue's mailbox (common/cuda/mailbox.h), each of which says by itself whether it is there.
//
// A word of ones is none: a NaN that no operation here makes, as a float or as two bf16. Who writes
// stores words, no fence; who reads polls them, and puts the ones back for the next kernel. So
// nothing but the words' way through L2 lies between the two. Nobody who writes waits for who
// reads, and there are fewer of these than a GPU has room for: a block that waits keeps none from
// running. Internal to kernels/hc.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/mailbox.h"
#include "kernels/hc/hc_finish.cuh"
#include "kernels/hc/hc_mix.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kMailChunks = kMaxHcDim / kHcChunk;
inline constexpr int kMailWords = 28;  // of a row of partial sums: whole vectors
inline constexpr int64_t kMailSums = int64_t{kHcRows} * kMailChunks * kHcPartial;
static_assert(4 * kMailSums + 2 * int64_t{kHcRows} * kHcStreams * kMaxHcDim <= kMailboxBytes);
static_assert(kHcSquare < kMailWords && kMailWords <= kHcPartial);

struct HcMail {
  uint32_t* words = nullptr;

  // Row of partial sums of a token's chunk.
  __device__ __forceinline__ uint32_t* Sums(int token, int chunk) const {
    return words + (token * kMailChunks + chunk) * kHcPartial;
  }
  // Eight dims of a token's stream after hc_post.
  __device__ __forceinline__ uint32_t* Dims(int token, int stream, int d) const {
    return words + kMailSums + ((token * kHcStreams + stream) * kMaxHcDim + d) / 2;
  }
};

__device__ __forceinline__ void StoreMail(uint32_t* to, uint32_t word) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(word) : "memory");
}
__device__ __forceinline__ void StoreMail(uint32_t* to, const uint4& v) {
  asm volatile("st.relaxed.gpu.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(v.x), "r"(v.y),
               "r"(v.z), "r"(v.w)
               : "memory");
}
__device__ __forceinline__ uint4 LoadMail(const uint32_t* from) {
  uint4 v;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from)
               : "memory");
  return v;
}

__device__ __forceinline__ bool IsMail(const uint4& v) {
  return v.x != kNoMail && v.y != kNoMail && v.z != kNoMail && v.w != kNoMail;
}

// The first n vectors of `place(i)`: polls all that are missing at once until none is, and puts the
// ones back.
template <int kCount, typename Place>
__device__ __forceinline__ void AwaitMail(int n, Place place, uint4 (&v)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i < n) v[i] = LoadMail(place(i));
  }
  while (true) {
    bool all = true;
#pragma unroll
    for (int i = 0; i < kCount; ++i) all = all && (i >= n || IsMail(v[i]));
    if (all) break;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i < n && !IsMail(v[i])) v[i] = LoadMail(place(i));
    }
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i < n) StoreMail(place(i), make_uint4(kNoMail, kNoMail, kNoMail, kNoMail));
  }
}

// Σ of one group's chunks, in order: four mixes of a token, as in GroupSum.
__device__ __forceinline__ float4 AwaitGroup(const HcMail& mail, int token, int group, int quad,
                                             int chunks) {
  const int first = group * kHcGroup;
  uint32_t* from = mail.Sums(token, first) + 4 * quad;
  uint4 v[kHcGroup] = {};
  AwaitMail(
      chunks - first, [&](int i) { return from + kHcPartial * i; }, v);
  float4 sum;
#pragma unroll
  for (int i = 0; i < kHcGroup; ++i) {
    const float4 own = {__uint_as_float(v[i].x), __uint_as_float(v[i].y), __uint_as_float(v[i].z),
                        __uint_as_float(v[i].w)};
    sum = i == 0 ? own
                 : float4{__fadd_rn(sum.x, own.x), __fadd_rn(sum.y, own.y), __fadd_rn(sum.z, own.z),
                          __fadd_rn(sum.w, own.w)};
  }
  return sum;
}

// As LoadStreams, of what is written by this kernel; two vectors at a time, for want of registers.
template <int kVectors>
__device__ __forceinline__ void AwaitStreams(const HcFinishArgs& args, const HcMail& mail,
                                             int token, int threads,
                                             uint4 (&raw)[kVectors][kHcStreams]) {
#pragma unroll
  for (int first = 0; first < kVectors; first += 2) {
    const auto dim = [=](int v) {
      return 8 * (static_cast<int>(threadIdx.x) + threads * (first + v));
    };
    const int vectors = dim(0) >= args.dim                            ? 0
                        : first + 1 == kVectors || dim(1) >= args.dim ? 1
                                                                      : 2;
    uint4 both[2 * kHcStreams] = {};
    AwaitMail(
        vectors * kHcStreams,
        [&](int i) { return mail.Dims(token, i % kHcStreams, dim(i / kHcStreams)); }, both);
#pragma unroll
    for (int i = 0; i < kHcStreams; ++i) {
      raw[first][i] = both[i];
      if (first + 1 < kVectors) raw[first + 1][i] = both[kHcStreams + i];
    }
  }
}

}  // namespace tandem::kernels::cuda
