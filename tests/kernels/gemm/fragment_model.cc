// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/gemm/fragment_model.h"

#include <bit>
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
  m.groups = 1;
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
      m.scale_a[group + 8 * (in_group % 2)][0] =
          Exponent(ByteOf(word[ptx::kMxScaleA], select.byte_a));
    }
    if (in_group == select.thread_b) {
      m.scale_b[group][0] = Exponent(ByteOf(word[ptx::kMxScaleB], select.byte_b));
    }
  }
  return m;
}

WarpMatrices ReadFp4Fragments(const ptx::ScaleSelect& select, const WarpRegisters& warp) {
  WarpMatrices m;
  m.groups = 2;
  for (int lane = 0; lane < 32; ++lane) {
    const uint32_t* const word = warp.word[lane];
    const int group = lane >> 2, in_group = lane % 4;
    const auto code = [word](int first, int i) {
      return E2M1ToFloat(static_cast<uint8_t>(word[first + i / 8] >> (4 * (i % 8)) & 15));
    };
    // "Matrix fragments for mma.m16n8k64": ai in a register of eight each.
    for (int i = 0; i < 32; ++i) {
      const int row = i < 8 || (16 <= i && i < 24) ? group : group + 8;
      const int column = in_group * 8 + (i & 7) + (i < 16 ? 0 : 32);
      m.a[row][column] = code(ptx::kMxA, i);
    }
    for (int i = 0; i < 16; ++i) {
      m.b[in_group * 8 + (i & 7) + (i < 8 ? 0 : 32)][group] = code(ptx::kMxB, i);
    }
    for (int i = 0; i < 4; ++i) {
      m.d[i < 2 ? group : group + 8][in_group * 2 + (i & 1)] = warp.d[lane][i];
    }
    // scale_vec::2X: two bytes, of both groups of the row or column.
    for (int j = 0; j < 2; ++j) {
      if (in_group / 2 == select.thread_a) {
        m.scale_a[group + 8 * (in_group % 2)][j] =
            Exponent(ByteOf(word[ptx::kMxScaleA], select.byte_a + j));
      }
      if (in_group == select.thread_b) {
        m.scale_b[group][j] = Exponent(ByteOf(word[ptx::kMxScaleB], select.byte_b + j));
      }
    }
  }
  return m;
}

void MultiplyMatrices(WarpMatrices& m) {
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      double total = m.d[row][column];
      for (int j = 0; j < m.groups; ++j) {
        double sum = 0;  // a multiple of 2^-18 below 2^24: exact
        for (int k = 32 * j; k < 32 * (j + 1); ++k) {
          sum += static_cast<double>(m.a[row][k]) * m.b[k][column];
        }
        const bool nan = m.scale_a[row][j] == kNoScale || m.scale_b[column][j] == kNoScale;
        total += nan ? std::nan("") : std::ldexp(sum, m.scale_a[row][j] + m.scale_b[column][j]);
      }
      m.d[row][column] = static_cast<float>(total);
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

void EmulateFp4Warp(const ptx::ScaleSelect& select, WarpRegisters* warp) {
  const auto read = [&](int i, int lane) { return warp->word[lane][i]; };
  for (int lane = 0; lane < 32; ++lane) ptx::EmulateMmaFp4(lane, select, warp->d[lane], read);
}

void ExpectSameSums(const WarpRegisters& actual, const WarpRegisters& expected) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const float a = actual.d[lane][i], e = expected.d[lane][i];
      if (std::isnan(e)) {
        ASSERT_TRUE(std::isnan(a)) << "lane " << lane << " d" << i;
      } else {
        ASSERT_EQ(std::bit_cast<uint32_t>(a), std::bit_cast<uint32_t>(e))
            << "lane " << lane << " d" << i << ": " << a << " for " << e;
      }
    }
  }
}

}  // namespace tandem::kernels
