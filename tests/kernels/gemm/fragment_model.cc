// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/gemm/fragment_model.h"

#include <cmath>

namespace tandem::kernels {
namespace {

using ptx::MxType;

uint8_t ByteOf(uint32_t word, int i) {
  return static_cast<uint8_t>(word >> (8 * i));
}

float Decode(MxType type, uint8_t container) {
  if (type == MxType::kE4M3) return ToFloat(E4M3{container});
  return E2M1ToFloat(static_cast<uint8_t>(container >> 2 & 15));
}

int Exponent(uint8_t scale) {
  return scale == 255 ? kNoScale : scale - 127;
}

}  // namespace

WarpMatrices ReadFragments(MxType type_a, const ptx::ScaleSelect& select,
                           const WarpRegisters& warp) {
  WarpMatrices m;
  for (int lane = 0; lane < 32; ++lane) {
    const uint32_t* const word = warp.word[lane];
    const int group = lane >> 2, in_group = lane % 4;
    // "Matrix fragments for mma.m16n8k32", .e4m3 and alike: ai in a register of four each.
    for (int i = 0; i < 16; ++i) {
      const int row = i < 4 || (8 <= i && i < 12) ? group : group + 8;
      const int column = in_group * 4 + (i & 3) + (i < 8 ? 0 : 16);
      m.a[row][column] = Decode(type_a, ByteOf(word[ptx::kMxA + i / 4], i % 4));
    }
    for (int i = 0; i < 8; ++i) {
      const int row = in_group * 4 + (i & 3) + (i < 4 ? 0 : 16);
      m.b[row][group] = Decode(MxType::kE4M3, ByteOf(word[ptx::kMxB + i / 4], i % 4));
    }
    for (int i = 0; i < 4; ++i) {
      m.d[i < 2 ? group : group + 8][in_group * 2 + (i & 1)] = warp.d[lane][i];
    }
    // "Block scaling for mma.sync", scale_vec::1X: a pair of threads of each quad holds SF_A of two
    // rows, one thread of each quad SF_B of a column.
    if (in_group / 2 == select.thread_a) {
      m.scale_a[group + 8 * (in_group % 2)] = Exponent(ByteOf(word[ptx::kMxScaleA], select.byte_a));
    }
    if (in_group == select.thread_b) {
      m.scale_b[group] = Exponent(ByteOf(word[ptx::kMxScaleB], select.byte_b));
    }
  }
  return m;
}

void MultiplyMatrices(WarpMatrices& m) {
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      double sum = 0;  // a multiple of 2^-18 below 2^24: exact
      for (int k = 0; k < 32; ++k) sum += static_cast<double>(m.a[row][k]) * m.b[k][column];
      const bool nan = m.scale_a[row] == kNoScale || m.scale_b[column] == kNoScale;
      const double scaled =
          nan ? std::nan("") : std::ldexp(sum, m.scale_a[row] + m.scale_b[column]);
      m.d[row][column] = static_cast<float>(m.d[row][column] + scaled);
    }
  }
}

void WriteSums(const WarpMatrices& m, WarpRegisters* warp) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      warp->d[lane][i] = m.d[(lane >> 2) + (i < 2 ? 0 : 8)][lane % 4 * 2 + (i & 1)];
    }
  }
}

WarpRegisters RandomRegisters(Random& random, int middle, int spread) {
  WarpRegisters warp;
  for (auto& words : warp.word) {
    for (int i = 0; i < ptx::kMxRegisters; ++i) {
      words[i] = 0;
      for (int byte = 0; byte < 4; ++byte) {
        const bool scale = i >= ptx::kMxScaleA;
        auto code = static_cast<uint32_t>(scale ? middle - spread + random.Below(2 * spread + 1)
                                                : random.Below(256));
        if (!scale && (code & 127) == 127) code ^= 1;
        words[i] |= code << (8 * byte);
      }
    }
  }
  for (auto& sums : warp.d) {
    for (float& sum : sums) sum = random.Normal() * 1000;
  }
  return warp;
}

void EmulateWarp(MxType type_a, const ptx::ScaleSelect& select, WarpRegisters* warp) {
  const auto read = [&](int i, int lane) { return warp->word[lane][i]; };
  for (int lane = 0; lane < 32; ++lane) {
    if (type_a == MxType::kE4M3) {
      ptx::EmulateMmaBlockScale<MxType::kE4M3>(lane, select, warp->d[lane], read);
    } else {
      ptx::EmulateMmaBlockScale<MxType::kE2M1>(lane, select, warp->d[lane], read);
    }
  }
}

}  // namespace tandem::kernels
