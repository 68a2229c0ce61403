// SPDX-License-Identifier: Apache-2.0
// Goal: the emulated block-scaled product is the PTX ISA's, and fragment order with its scales
// feeds it the weights and tokens that are meant; no GPU needed. Method: the emulation's own code
// for all 32 lanes against plain matrices, bit by bit, for every selector, extreme scales, NaN
// codes and NaN scales; random weights packed as PrepareLinear does, taken as the tiles take them,
// against sums of the checkpoint's values.
#include "kernels/gemm/mx_fragment.h"

#include <cmath>

#include "tests/kernels/gemm/fragment_model.h"
#include "tests/kernels/gemm/fragments.h"

namespace tandem::kernels {
namespace {

using ptx::MxType, ptx::ScaleSelect;

// As prmt.b32 without sign replication.
uint32_t Permute(uint32_t low, uint32_t high, uint32_t selector) {
  const uint64_t both = uint64_t{high} << 32 | low;
  uint32_t out = 0;
  for (int i = 0; i < 4; ++i) {
    out |= static_cast<uint32_t>(both >> (8 * (selector >> (4 * i) & 7)) & 255) << (8 * i);
  }
  return out;
}

class MmaBlockScaleTest : public testing::TestWithParam<MxType> {
 protected:
  void Compare(const WarpRegisters& warp, const ScaleSelect& select) {
    WarpRegisters actual = warp, expected = warp;
    EmulateWarp(GetParam(), select, &actual);
    WarpMatrices m = ReadFragments(GetParam(), select, warp);
    MultiplyMatrices(m);
    WriteSums(m, &expected);
    ExpectSameSums(actual, expected);
  }
  Random random{std::random_device{}()};
};
INSTANTIATE_TEST_SUITE_P(Types, MmaBlockScaleTest, testing::Values(MxType::kE4M3, MxType::kE2M1),
                         [](const auto& info) {
                           return info.param == MxType::kE4M3 ? "E4M3" : "E2M1";
                         });

TEST_P(MmaBlockScaleTest, IsThePlainProductForEverySelector) {
  SCOPED_TRACE(random.Trace());
  for (int i = 0; i < 4 * 2 * 4 * 4; ++i) {
    Compare(RandomRegisters(random, 127, 9), {i % 4, i / 4 % 2, i / 8 % 4, i / 32});
  }
}

TEST_P(MmaBlockScaleTest, HoldsAtEveryScale) {
  SCOPED_TRACE(random.Trace());
  for (int middle = 2; middle <= 252; middle += 10) {
    Compare(RandomRegisters(random, middle, 2), {1, 1, 2, 3});
  }
}

TEST_P(MmaBlockScaleTest, NanSpoilsItsRowOrColumn) {
  SCOPED_TRACE(random.Trace());
  for (int i = 0; i < ptx::kMxRegisters; ++i) {
    for (int trial = 0; trial < 8; ++trial) {
      WarpRegisters warp = RandomRegisters(random, 127, 3);
      const uint32_t nan = i < ptx::kMxScaleA ? (random.Below(2) == 0 ? 0x7F : 0xFF) : 0xFF;
      const int shift = static_cast<int>(8 * random.Below(4));
      uint32_t& word = warp.word[random.Below(32)][i];
      word = (word & ~(0xFFu << shift)) | nan << shift;
      Compare(warp, {static_cast<int>(random.Below(4)), 0, shift / 8, 2});
    }
  }
}

TEST(MxFixedTest, IsEveryCodesValue) {
  for (uint32_t code = 0; code < 256; ++code) {
    const E4M3 fp8{static_cast<uint8_t>(code)};
    EXPECT_EQ(ptx::MxIsNan<MxType::kE4M3>(code), std::isnan(ToFloat(fp8))) << code;
    if (!std::isnan(ToFloat(fp8))) {
      EXPECT_EQ(ptx::MxFixed<MxType::kE4M3>(code), ToFloat(fp8) * 512) << code;
    }
    EXPECT_EQ(ptx::MxFixed<MxType::kE2M1>(code),
              E2M1ToFloat(static_cast<uint8_t>(code >> 2 & 15)) * 512)
        << code;
  }
}

// Two row tiles and 128 tokens as a warp of a tile takes them (kernels/gemm/tile_mx.cuh).
template <WeightFormat kFormat>
class PackedProduct {
 public:
  PackedProduct(const LinearWeight& weight, const Tensor<E4M3, 2>& q, const Tensor<Ue8m0, 2>& scale)
      : weight_(weight), q_(q), scale_(scale), packed_(FragmentBytes(weight)) {
    PackFragments(weight, packed_.data());
  }

  // The registers of the product of row tile `row_tile` + m with tokens 8·j.. for k32 tile `tile`.
  WarpRegisters Operands(int64_t row_tile, int m, int j, int64_t tile) const {
    WarpRegisters warp = {};
    const int64_t k = weight_.k, block = tile / 4;
    for (int lane = 0; lane < 32; ++lane) {
      uint32_t load[4];
      const int64_t loads = (row_tile + m) * LoadsPerRow(kFormat, k) + (kFp4 ? tile / 2 : tile);
      std::memcpy(load, packed_.data() + loads * kWarpLoadBytes + lane * kLoadBytes, kLoadBytes);
      const MxRows rows = MxRowsOf<kFormat>(load, static_cast<int>(tile % 2), Permute);
      std::memcpy(warp.word[lane] + ptx::kMxA, rows.word, sizeof(rows.word));
      const int64_t token = 8 * j + lane / 4, column = 32 * tile + kUnitCodes * (lane % 4);
      std::memcpy(warp.word[lane] + ptx::kMxB, q_.values.data() + token * k + column, kUnitCodes);
      warp.word[lane][ptx::kMxScaleA] = RowScales(row_tile, lane, tile);
      for (int i = 0; i < 4; ++i) {
        const Ue8m0 s = scale_[MxScaleToken(lane, i) * (k / 128) + block];
        warp.word[lane][ptx::kMxScaleB] |= uint32_t{s.bits} << (8 * i);
      }
    }
    return warp;
  }
  static ScaleSelect Select(int m, int j, int64_t tile) {
    return MxSelect(m, kFp4 ? static_cast<int>(tile % 2) : 0, j);
  }

 private:
  static constexpr bool kFp4 = kFormat == WeightFormat::kFp4;

  uint32_t RowScales(int64_t row_tile, int lane, int64_t k32_tile) const {
    const int64_t k = weight_.k, block = k32_tile / 4;
    const uint8_t* const scales =
        packed_.data() + FragmentScaleOffset(kFormat, weight_.n, weight_.k);
    const int64_t tile = row_tile + MxScaleTile(lane);
    if (!kFp4) return scales[tile / 8 * (k / 128) + block];
    uint32_t word;
    std::memcpy(&word, scales + (tile * (k / 128) + block) * 64 + MxScaleRow(lane) * 4, 4);
    return word >> (k32_tile / 2 % 2 * 16);  // a stage is half of 128 columns
  }

  const LinearWeight& weight_;
  const Tensor<E4M3, 2>& q_;
  const Tensor<Ue8m0, 2>& scale_;
  std::vector<uint8_t> packed_;
};

template <WeightFormat kFormat>
void ExpectPackingFeedsTheProduct(int64_t n, int64_t k, Random& random) {
  constexpr int64_t kTokens = 128;
  const MxType type = kFormat == WeightFormat::kFp4 ? MxType::kE2M1 : MxType::kE4M3;
  OwnedWeight weight(kFormat, n, k, random);
  Tensor<E4M3, 2> q(kTokens, k);
  Tensor<Ue8m0, 2> scale(kTokens, k / 128);
  for (E4M3& code : q.values) code = ToE4M3(random.Normal() * 60);
  for (Ue8m0& s : scale.values) s.bits = static_cast<uint8_t>(110 + random.Below(20));
  const PackedProduct<kFormat> product(weight.plain(), q, scale);
  std::vector<float> w(k);
  for (int64_t row_tile = 0; row_tile + 1 < RowTiles(n); row_tile += 2) {
    for (int i = 0; i < 32; ++i) {
      const int m = i / 16, j = i % 16;
      WarpRegisters warp = {};
      for (int64_t tile = 0; tile < k / 32; ++tile) {
        WarpRegisters next = product.Operands(row_tile, m, j, tile);
        std::memcpy(next.d, warp.d, sizeof(warp.d));
        warp = next;
        EmulateWarp(type, product.Select(m, j, tile), &warp);
      }
      for (int lane = 0; lane < 32; ++lane) {
        for (int e = 0; e < 4; ++e) {
          const int64_t row = (row_tile + m) * kTileRows + lane / 4 + 8 * (e / 2);
          const int64_t token = 8 * j + lane % 4 * 2 + e % 2;
          if (row >= n) continue;
          ReadWeightRow(weight.plain(), row, w.data());
          float d = 0;
          for (int64_t tile = 0; tile < k / 32; ++tile) {
            double sum = 0;
            for (int64_t c = 32 * tile; c < 32 * tile + 32; ++c) {
              sum += static_cast<double>(w[c]) * ToFloat(q[token * k + c]) *
                     ToFloat(scale[token * (k / 128) + c / 128]);
            }
            d = static_cast<float>(d + sum);
          }
          ASSERT_EQ(warp.d[lane][e], d) << "row " << row << " token " << token;
        }
      }
    }
  }
}

TEST(MxFragmentTest, PackedFp4WeightsFeedTheProduct) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  ExpectPackingFeedsTheProduct<WeightFormat::kFp4>(32, 256, random);
  ExpectPackingFeedsTheProduct<WeightFormat::kFp4>(60, 128, random);
}

TEST(MxFragmentTest, PackedFp8WeightsFeedTheProduct) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  ExpectPackingFeedsTheProduct<WeightFormat::kFp8>(128, 256, random);
}

}  // namespace
}  // namespace tandem::kernels
