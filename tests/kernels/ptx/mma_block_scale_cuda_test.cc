// SPDX-License-Identifier: Apache-2.0
// Goal: the block-scaled products of this device. Method: random registers, every selector, scales
// far from one, NaN, against plain matrices (fragment_model.h): the emulation bit by bit, the
// instruction within the rounding that mma_block_scale.h assumes of it; the largest seen is
// recorded, in units of 2^-24.
#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/gemm/tile_math.h"
#include "tests/kernels/cuda/device.h"
#include "tests/kernels/gemm/fragment_model.h"
#include "tests/kernels/ptx/mma_block_scale_probe.h"

namespace tandem::kernels {
namespace {

using ptx::MxType;

constexpr double kAssumed = 0x1p-22;

class MmaBlockScaleCudaTest : public OnDevice {
 protected:
  enum Product { kE4M3, kE2M1, kFp4 };  // types of A; kFp4: of both
  static constexpr Product kProducts[] = {kE4M3, kE2M1, kFp4};
  static MxType TypeOf(Product product) { return product == kE4M3 ? MxType::kE4M3 : MxType::kE2M1; }

  // d of every image, with the device's product.
  std::vector<WarpRegisters> Run(Product product, std::vector<WarpRegisters> images) {
    const auto count = static_cast<int64_t>(images.size());
    constexpr int64_t kWordBytes = sizeof(WarpRegisters::word),
                      kSumBytes = sizeof(WarpRegisters::d);
    DeviceBytes words(count * kWordBytes), sums(count * kSumBytes);
    for (int64_t i = 0; i < count; ++i) {
      words.Write(images[i].word, kWordBytes, i * kWordBytes);
      sums.Write(images[i].d, kSumBytes, i * kSumBytes);
    }
    const auto* from = reinterpret_cast<const uint32_t*>(words.data());
    auto* to = reinterpret_cast<float*>(sums.data());
    if (product == kFp4) {
      cuda::ProbeMmaFp4(from, to, static_cast<int>(count), stream);
    } else {
      cuda::ProbeMmaBlockScale(TypeOf(product), from, to, static_cast<int>(count), stream);
    }
    EXPECT_TRUE(Synchronize(stream)) << stream.error();
    for (int64_t i = 0; i < count; ++i) sums.Read(images[i].d, kSumBytes, i * kSumBytes);
    return images;
  }

  void Compare(Product product, const WarpRegisters& input, const WarpRegisters& actual,
               int image) {
    WarpMatrices m =
        product == kFp4
            ? ReadFp4Fragments(cuda::ProbedFp4Select(image % cuda::kFp4ScaleSelects), input)
            : ReadFragments(TypeOf(product), cuda::ProbedSelect(image % cuda::kScaleSelects),
                            input);
    WarpRegisters expected = input, sizes = input;
    WarpMatrices size = m;  // |d| + Σ|a·b|·2^s
    for (auto& row : size.a) std::ranges::transform(row, row, [](float v) { return std::abs(v); });
    for (auto& row : size.b) std::ranges::transform(row, row, [](float v) { return std::abs(v); });
    for (auto& row : size.d) std::ranges::transform(row, row, [](float v) { return std::abs(v); });
    MultiplyMatrices(m);
    MultiplyMatrices(size);
    WriteSums(m, &expected);
    WriteSums(size, &sizes);
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < 4; ++i) {
        const float a = actual.d[lane][i], e = expected.d[lane][i];
        if (std::isnan(e)) {
          ASSERT_TRUE(std::isnan(a)) << "image " << image << " lane " << lane << " d" << i;
        } else if (!native) {
          ASSERT_EQ(a, e) << "image " << image << " lane " << lane << " d" << i;
        } else {
          const double error = std::abs(static_cast<double>(a) - e) / sizes.d[lane][i];
          ASSERT_LE(error, kAssumed) << "image " << image << " lane " << lane << " d" << i;
          largest = std::max(largest, error);
        }
      }
    }
  }

  const bool native = cuda::NativeTileMath() == cuda::TileMath::kMx;
  double largest = 0;
  Random random{std::random_device{}()};
};

TEST_F(MmaBlockScaleCudaTest, IsThePlainProduct) {
  SCOPED_TRACE(random.Trace());
  for (const Product product : kProducts) {
    std::vector<WarpRegisters> images;
    for (int i = 0; i < 4 * cuda::kScaleSelects; ++i) {
      const int part = i / cuda::kScaleSelects;  // one scale, some, far from one
      images.push_back(RandomRegisters(random, part == 2 ? 80 : part == 3 ? 160 : 127, part));
      if (part < 2) continue;
      for (auto& sums : images.back().d) {
        for (float& sum : sums) sum = std::ldexp(sum, part == 2 ? -94 : 66);
      }
    }
    const std::vector<WarpRegisters> results = Run(product, images);
    for (size_t i = 0; i < images.size(); ++i) {
      Compare(product, images[i], results[i], static_cast<int>(i));
    }
  }
  RecordProperty("largest_error", std::to_string(largest * 0x1p24));
}

TEST_F(MmaBlockScaleCudaTest, NanSpoilsItsRowOrColumn) {
  SCOPED_TRACE(random.Trace());
  for (const Product product : kProducts) {
    std::vector<WarpRegisters> images;
    for (int i = 0; i < cuda::kScaleSelects; ++i) {
      images.push_back(RandomRegisters(random, 127, 3));
      // A code of B or of A (FP4: no NaN), or a scale, in some lane.
      const int at = i % ptx::kMxRegisters;
      images.back().word[random.Below(32)][at] |= at < ptx::kMxScaleA ? 0x7Fu : 0xFFu;
    }
    const std::vector<WarpRegisters> results = Run(product, images);
    for (size_t i = 0; i < images.size(); ++i) {
      Compare(product, images[i], results[i], static_cast<int>(i));
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
