// SPDX-License-Identifier: Apache-2.0
// The block-scaled warp matrix product, lane by lane, in plain C++: what its instruction
// (mma_block_scale.cuh) computes, for machines that have none and for tests without a GPU.
//
//   D[16,8] += (A[16,32] · 2^(sa[16] − 127)) · (B[32,8] · 2^(sb[8] − 127))
//
// A is E4M3 or E2M1, B is E4M3. Every code stands in a byte of its own; E2M1 in its bits 5..2.
// Fragments, for lane = 4·g + c (g = 0..7, c = 0..3); four bytes a register, low byte first:
//   A: a0 = A[g][4c..4c+3]  a1 = A[g+8][4c..4c+3]  a2, a3: the same rows, columns 16 further
//   B: b0 = B[4c..4c+3][g]  b1 = B[4c+16..4c+19][g]
//   C, D: d0,d1 = D[g][2c,2c+1]  d2,d3 = D[g+8][2c,2c+1]
//   sa: of row g, byte byte_a of lane 4·g + 2·thread_a; of row g + 8, of the lane behind it
//   sb: of column g, byte byte_b of lane 4·g + thread_b
//
// Numerics  d = fp32(fp64(c + 2^(sa + sb − 254) · Σ a·b)), the sum exact: it does not depend on any
//           order. A NaN code in the row or the column, or a scale of 255, gives NaN. The
//           instruction rounds its sums of 32 products and d as it likes, here assumed within 2^-22
//           of |c| + Σ|a·b|·2^(sa + sb − 254): B200 keeps 25 bits (DeepGEMM issue 176), SM120 is
//           not documented. Hopper's and Ada's FP8 products keep 13; were it so on SM120, the test
//           of this product (mma_block_scale_cuda_test) would fail there, and tiles would have to
//           add up every 128 columns in fp32.
// Pure. Source: PTX ISA 9.0, "Matrix fragments for mma.m16n8k32" and "Block scaling for mma.sync";
// reference/sm120.md 3.4.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/common/host_device.h"

namespace tandem::kernels::ptx {

enum class MxType { kE4M3, kE2M1 };

// Which byte of which lanes holds a scale: 0..3, 0..1, 0..3, 0..3.
struct ScaleSelect {
  int byte_a, thread_a, byte_b, thread_b;
};

// What a lane hands to the product, in the instruction's order.
inline constexpr int kMxA = 0, kMxB = 4, kMxScaleA = 6, kMxScaleB = 7, kMxRegisters = 8;

inline constexpr int kMxScaleNan = 255;

// The code in the low byte, in units of 2^-9.
template <MxType kType>
TANDEM_HOST_DEVICE constexpr int32_t MxFixed(uint32_t byte) {
  constexpr bool kFp4 = kType == MxType::kE2M1;
  constexpr int kMantissa = kFp4 ? 1 : 3, kUnit = kFp4 ? 8 : 0;
  const uint32_t code = kFp4 ? byte >> 2 & 15u : byte & 255u;
  const uint32_t magnitude = code & (kFp4 ? 7u : 127u), exponent = magnitude >> kMantissa;
  const uint32_t one = 1u << kMantissa, mantissa = magnitude & (one - 1);
  const uint32_t value = exponent == 0 ? mantissa : (one | mantissa) << (exponent - 1);
  const auto fixed = static_cast<int32_t>(value << kUnit);
  return code != magnitude ? -fixed : fixed;
}
template <MxType kType>
TANDEM_HOST_DEVICE constexpr bool MxIsNan(uint32_t byte) {
  return kType == MxType::kE4M3 && (byte & 127u) == 127u;
}

// c + 2^(sa + sb − 254) · sum, `sum` in units of 2^-18.
TANDEM_HOST_DEVICE inline float AddScaled(float c, int64_t sum, uint32_t sa, uint32_t sb,
                                          bool nan) {
  const int exponent = static_cast<int>(sa + sb) - 2 * 127 - 18;
  const double scale = std::bit_cast<double>(static_cast<uint64_t>(1023 + exponent) << 52);
  const auto d = static_cast<float>(static_cast<double>(c) + static_cast<double>(sum) * scale);
  const bool bad = nan || sa == kMxScaleNan || sb == kMxScaleNan || d != d;
  return bad ? std::bit_cast<float>(0x7FFFFFFFu) : d;
}

// One lane's part of the product. read(i, lane): register i (kMxA …) of a lane, called by all lanes
// in the same order with the same i.
template <MxType kTypeA, class Read>
TANDEM_HOST_DEVICE inline void EmulateMmaBlockScale(int lane, const ScaleSelect& select,
                                                    float (&d)[4], const Read& read) {
  const int g = lane / 4, c = lane % 4;
  int64_t sum[4] = {};  // as d
  bool nan_a[2] = {}, nan_b[2] = {};
  const auto both = [&](int i, int j, int from) {
    const uint64_t low = read(i, from), high = read(j, from);
    return low | high << 32;
  };
  TANDEM_NO_UNROLL
  for (int i = 0; i < 4; ++i) {  // eight columns of both rows, from one lane of their quad
    const int from_a = 4 * g + i, from_b = 8 * c + i;
    uint64_t a[2] = {both(kMxA, kMxA + 2, from_a), both(kMxA + 1, kMxA + 3, from_a)};
    uint64_t b[2] = {both(kMxB, kMxB + 1, from_b), both(kMxB, kMxB + 1, from_b + 4)};
    TANDEM_NO_UNROLL
    for (int column = 0; column < 8; ++column) {
      const auto a0 = static_cast<uint32_t>(a[0]), a1 = static_cast<uint32_t>(a[1]);
      const auto b0 = static_cast<uint32_t>(b[0]), b1 = static_cast<uint32_t>(b[1]);
      const int64_t row[2] = {MxFixed<kTypeA>(a0), MxFixed<kTypeA>(a1)};
      const int64_t right[2] = {MxFixed<MxType::kE4M3>(b0), MxFixed<MxType::kE4M3>(b1)};
      sum[0] += row[0] * right[0];
      sum[1] += row[0] * right[1];
      sum[2] += row[1] * right[0];
      sum[3] += row[1] * right[1];
      nan_a[0] |= MxIsNan<kTypeA>(a0), nan_a[1] |= MxIsNan<kTypeA>(a1);
      nan_b[0] |= MxIsNan<MxType::kE4M3>(b0), nan_b[1] |= MxIsNan<MxType::kE4M3>(b1);
      a[0] >>= 8, a[1] >>= 8, b[0] >>= 8, b[1] >>= 8;
    }
  }
  const int at_a = 4 * g + 2 * select.thread_a, at_b = 8 * c + select.thread_b;
  const uint32_t sa[2] = {read(kMxScaleA, at_a) >> (8 * select.byte_a) & 255u,
                          read(kMxScaleA, at_a + 1) >> (8 * select.byte_a) & 255u};
  const uint32_t sb[2] = {read(kMxScaleB, at_b) >> (8 * select.byte_b) & 255u,
                          read(kMxScaleB, at_b + 4) >> (8 * select.byte_b) & 255u};
  d[0] = AddScaled(d[0], sum[0], sa[0], sb[0], nan_a[0] || nan_b[0]);
  d[1] = AddScaled(d[1], sum[1], sa[0], sb[1], nan_a[0] || nan_b[1]);
  d[2] = AddScaled(d[2], sum[2], sa[1], sb[0], nan_a[1] || nan_b[0]);
  d[3] = AddScaled(d[3], sum[3], sa[1], sb[1], nan_a[1] || nan_b[1]);
}

}  // namespace tandem::kernels::ptx
