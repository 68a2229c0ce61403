// SPDX-License-Identifier: Apache-2.0
// The block-scaled warp matrix products, lane by lane, in plain C++: what their instructions
// (mma_block_scale.cuh) compute, for machines that have none and for tests without a GPU.
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
// The product of FP4 is this twice, of A[16,64] and B[64,8], all E2M1, a scale every 32 of the 64:
// eight codes a register, low nibble first, so a0 = A[g][8c..8c+7] and a2, a3, b1 stand 32 further;
// scales of the first 32 in byte byte_a, byte_b (0 or 2), of the others in the next byte.
//
// Numerics  d = fp32(fp64(c + 2^(sa + sb − 254) · Σ a·b)), the sum exact: it does not depend on any
//           order. A NaN code in the row or the column, or a scale of 255, gives NaN. The
//           instruction rounds its sums of 32 products and d as it likes, here assumed within 2^-22
//           of |c| + Σ|a·b|·2^(sa + sb − 254): B200 keeps 25 bits (DeepGEMM issue 176), SM120 is
//           not documented. Hopper's and Ada's FP8 products keep 13; were it so on SM120, the test
//           of this product (mma_block_scale_cuda_test) would fail there, and tiles would have to
//           add up every 128 columns in fp32. FP4: fp64 adds the first 32, then the others; of
//           multiples of one unit, below 2^24 of it in all, d is exact, as it is where an
//           instruction keeps 24 bits.
// Pure. Source: PTX ISA 9.0, "Matrix fragments for mma.m16n8k32", the same of m16n8k64, and "Block
// scaling for mma.sync"; reference/sm120.md 3.4.
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

inline constexpr double kMxNan = std::bit_cast<double>(~uint64_t{0} >> 1);

// 2^(sa + sb − 254) · sum, `sum` in units of 2^-18.
TANDEM_HOST_DEVICE inline double Scaled(int64_t sum, uint32_t sa, uint32_t sb, bool nan) {
  if (nan || sa == kMxScaleNan || sb == kMxScaleNan) return kMxNan;
  const int exponent = static_cast<int>(sa + sb) - 2 * 127 - 18;
  const double scale = std::bit_cast<double>(static_cast<uint64_t>(1023 + exponent) << 52);
  return static_cast<double>(sum) * scale;
}
// To fp32; one NaN.
TANDEM_HOST_DEVICE inline float RoundMx(double d) {
  return d != d ? std::bit_cast<float>(0x7FFFFFFFu) : static_cast<float>(d);
}

// Scales of a lane's sums, of the codes whose scales stand in byte byte_a + next, byte_b + next:
// rows g and g + 8, columns 2c and 2c + 1.
struct MxScales {
  uint32_t a[2], b[2];
};
template <class Read>
TANDEM_HOST_DEVICE inline MxScales ReadScales(int lane, const ScaleSelect& select, int next,
                                              const Read& read) {
  const int at_a = lane / 4 * 4 + 2 * select.thread_a, at_b = lane % 4 * 8 + select.thread_b;
  const int shift_a = 8 * (select.byte_a + next), shift_b = 8 * (select.byte_b + next);
  return {{read(kMxScaleA, at_a) >> shift_a & 255u, read(kMxScaleA, at_a + 1) >> shift_a & 255u},
          {read(kMxScaleB, at_b) >> shift_b & 255u, read(kMxScaleB, at_b + 4) >> shift_b & 255u}};
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
  const MxScales scale = ReadScales(lane, select, 0, read);
  d[0] = RoundMx(d[0] + Scaled(sum[0], scale.a[0], scale.b[0], nan_a[0] || nan_b[0]));
  d[1] = RoundMx(d[1] + Scaled(sum[1], scale.a[0], scale.b[1], nan_a[0] || nan_b[1]));
  d[2] = RoundMx(d[2] + Scaled(sum[2], scale.a[1], scale.b[0], nan_a[1] || nan_b[0]));
  d[3] = RoundMx(d[3] + Scaled(sum[3], scale.a[1], scale.b[1], nan_a[1] || nan_b[1]));
}

// The same of FP4.
template <class Read>
TANDEM_HOST_DEVICE inline void EmulateMmaFp4(int lane, const ScaleSelect& select, float (&d)[4],
                                             const Read& read) {
  const int g = lane / 4, c = lane % 4;
  const auto value = [](uint32_t word) {
    return MxFixed<MxType::kE2M1>((word & 15u) << 2);  // below 2^12; a sum of 32 products, 2^29
  };
  double total[4] = {d[0], d[1], d[2], d[3]};
  const auto add = [&](int half) {
    int32_t sum[4] = {};  // as d
    TANDEM_NO_UNROLL
    for (int i = 0; i < 4; ++i) {  // eight columns of both rows, from one lane of their quad
      const int from_a = 4 * g + i, from_b = 8 * c + i;
      uint32_t a0 = read(kMxA + 2 * half, from_a), a1 = read(kMxA + 2 * half + 1, from_a);
      uint32_t b0 = read(kMxB + half, from_b), b1 = read(kMxB + half, from_b + 4);
      TANDEM_NO_UNROLL
      for (int column = 0; column < 8; ++column) {
        const int32_t row[2] = {value(a0), value(a1)}, right[2] = {value(b0), value(b1)};
        sum[0] += row[0] * right[0];
        sum[1] += row[0] * right[1];
        sum[2] += row[1] * right[0];
        sum[3] += row[1] * right[1];
        a0 >>= 4, a1 >>= 4, b0 >>= 4, b1 >>= 4;
      }
    }
    const MxScales scale = ReadScales(lane, select, half, read);
    for (int i = 0; i < 4; ++i) total[i] += Scaled(sum[i], scale.a[i / 2], scale.b[i % 2], false);
  };
  add(0);
  add(1);
  for (int i = 0; i < 4; ++i) d[i] = RoundMx(total[i]);
}

}  // namespace tandem::kernels::ptx
