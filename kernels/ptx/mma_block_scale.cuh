// SPDX-License-Identifier: Apache-2.0
// The block-scaled warp matrix products D[16,8] += (A[16,32]·2^sa)·(B[32,8]·2^sb) and, of FP4, with
// two scales each D[16,8] += (A[16,64]·2^sa)·(B[64,8]·2^sb): one instruction on sm_120f; elsewhere
// its emulation, with the same registers and the same selectors, a few hundred times slower: for
// tests. Fragments, scales and numerics: mma_block_scale.h.
#pragma once

#include <cstdint>

#include "kernels/ptx/mma_block_scale.h"

namespace tandem::kernels::ptx {

#if defined(__CUDA_ARCH_FAMILY_SPECIFIC__) && __CUDA_ARCH_FAMILY_SPECIFIC__ == 1200
#define TANDEM_MMA_BLOCK_SCALE
inline constexpr bool kEmulatesMmaBlockScale = false;
#else
inline constexpr bool kEmulatesMmaBlockScale = true;
#endif

// `select` is known at compile time, if only after inlining: the selectors are immediates.
template <MxType kTypeA>
__device__ __forceinline__ void MmaBlockScale(float (&d)[4], const uint32_t (&a)[4],
                                              const uint32_t (&b)[2], uint32_t scale_a,
                                              uint32_t scale_b, const ScaleSelect& select) {
#ifdef TANDEM_MMA_BLOCK_SCALE
#define TANDEM_MMA_OF(type)                                                                     \
  asm volatile(                                                                                 \
      "mma.sync.aligned.m16n8k32.row.col.kind::mxf8f6f4.block_scale.scale_vec::1X.f32." type    \
      ".e4m3.f32.ue8m0 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3}, "        \
      "%10, {%12, %13}, %11, {%14, %15};"                                                       \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                          \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(scale_a),         \
        "r"(scale_b), "h"(static_cast<uint16_t>(select.byte_a)),                                \
        "h"(static_cast<uint16_t>(select.thread_a)), "h"(static_cast<uint16_t>(select.byte_b)), \
        "h"(static_cast<uint16_t>(select.thread_b)))
  if constexpr (kTypeA == MxType::kE2M1) {
    TANDEM_MMA_OF("e2m1");
  } else {
    TANDEM_MMA_OF("e4m3");
  }
#undef TANDEM_MMA_OF
#else
  const uint32_t registers[kMxRegisters] = {a[0], a[1], a[2], a[3], b[0], b[1], scale_a, scale_b};
  EmulateMmaBlockScale<kTypeA>(static_cast<int>(threadIdx.x) % 32, select, d, [&](int i, int lane) {
    return __shfl_sync(0xFFFFFFFFu, registers[i], lane);
  });
#endif
}

#ifndef TANDEM_MMA_BLOCK_SCALE
// Once a kernel, and not once a product: it is long.
__device__ __noinline__ inline float4 EmulatedMmaFp4(float4 c, uint4 a, uint4 b_scales,
                                                     ScaleSelect select) {
  const uint32_t registers[kMxRegisters] = {a.x,        a.y,        a.z,        a.w,
                                            b_scales.x, b_scales.y, b_scales.z, b_scales.w};
  float d[4] = {c.x, c.y, c.z, c.w};
  EmulateMmaFp4(static_cast<int>(threadIdx.x) % 32, select, d,
                [&](int i, int lane) { return __shfl_sync(0xFFFFFFFFu, registers[i], lane); });
  return {d[0], d[1], d[2], d[3]};
}
#endif

// The same of FP4; byte_a and byte_b are 0 or 2.
__device__ __forceinline__ void MmaFp4BlockScale(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                                 uint32_t b1, uint32_t scale_a, uint32_t scale_b,
                                                 const ScaleSelect& select) {
#ifdef TANDEM_MMA_BLOCK_SCALE
  asm volatile(
      "mma.sync.aligned.m16n8k64.row.col.kind::mxf4.block_scale.scale_vec::2X.f32.e2m1.e2m1.f32"
      ".ue8m0 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3}, "
      "%10, {%12, %13}, %11, {%14, %15};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(scale_a), "r"(scale_b),
        "h"(static_cast<uint16_t>(select.byte_a)), "h"(static_cast<uint16_t>(select.thread_a)),
        "h"(static_cast<uint16_t>(select.byte_b)), "h"(static_cast<uint16_t>(select.thread_b)));
#else
  const float4 sums = EmulatedMmaFp4({d[0], d[1], d[2], d[3]}, {a[0], a[1], a[2], a[3]},
                                     {b0, b1, scale_a, scale_b}, select);
  d[0] = sums.x, d[1] = sums.y, d[2] = sums.z, d[3] = sums.w;
#endif
}

}  // namespace tandem::kernels::ptx
