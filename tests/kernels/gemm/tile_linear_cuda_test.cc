// SPDX-License-Identifier: Apache-2.0
// Goal: the linears of prefill on a device. Method: fresh random input, edge sizes of the tiles,
// tiny v4's and the model's; sampled outputs against fp64 sums within the bound of tile_linear.h;
// the same bits twice and whatever T. The block-scaled product is emulated where the device has
// none: in small shapes.
#include "kernels/gemm/grouped_linear.h"
#include "kernels/gemm/tile_linear.h"
#include "kernels/quant/act_quant.h"
#include "tests/kernels/gemm/fragment_weights.h"

namespace tandem::kernels {
namespace {

using cuda::TileMath;

struct Shape {
  int64_t tokens, n, k;
  int64_t groups = 1;
};

class TileLinearCudaTest : public OnDevice {
 protected:
  // Activations as fp32 [T, G, K] and the linear's own form of them.
  void Check(WeightFormat format, const Shape& shape, bool quantised,
             TileMath math = TileMath::kBf16) {
    SCOPED_TRACE(testing::Message() << "T=" << shape.tokens << " N=" << shape.n << " K=" << shape.k
                                    << " G=" << shape.groups);
    const int64_t t = shape.tokens, k = shape.k, g = shape.groups;
    OwnedWeight weight(format, shape.n, k, random);
    const FragmentWeights device({&weight});
    Tensor<Bf16, 2> x(t * g, k);
    random.Fill(x, 3);
    std::vector<float> values(x.values.size());
    if (quantised) {
      Quantised(x, device[0], shape, math, &values);
    } else if (g > 1 || format == WeightFormat::kFp8) {
      for (size_t i = 0; i < values.size(); ++i) values[i] = ToFloat(x[i]);
      Grouped(x, device[0], shape);
    } else {
      for (size_t i = 0; i < values.size(); ++i) values[i] = ToFloat(x[i]);
      Wide(x, device[0], shape);
    }
    Sample(weight.plain(), shape, values);
  }

  void Quantised(const Tensor<Bf16, 2>& x, const LinearWeight& weight, const Shape& shape,
                 TileMath math, std::vector<float>* values) {
    const int64_t t = shape.tokens, k = shape.k;
    Tensor<E4M3, 2> q(t, k);
    Tensor<Ue8m0, 2> scale(t, k / 128);
    reference.act_quant({.x = x, .q = q, .scale = scale}, host);
    for (int64_t i = 0; i < t * k; ++i) (*values)[i] = ToFloat(q[i]) * ToFloat(scale[i / 128]);
    Tensor<Bf16, 2> poison(t, shape.n);
    poison.Poison();
    const DeviceTensor dq(q);
    const DeviceTensor y(poison), again(poison), fewer(poison);
    const DeviceTensor ds(scale);
    const auto run = [&](int64_t first, int64_t n, TensorView<Bf16, 2> to) {
      cuda::TileQuantLinear({.q = Rows(dq.view(), first, n),
                             .scale = Rows(ds.view(), first, n),
                             .weight = weight,
                             .y = Rows(to, first, n)},
                            math, stream);
    };
    run(0, t, y);
    run(0, t, again);
    run(0, t / 3, fewer);
    run(t / 3, t - t / 3, fewer);
    Wait();
    const std::vector<Bf16> result = y.Fetch().values;
    EXPECT_TRUE(result == again.Fetch().values);
    EXPECT_TRUE(result == fewer.Fetch().values);
    for (const Bf16 v : result) actual.push_back(ToFloat(v));
  }

  void Grouped(const Tensor<Bf16, 2>& x, const LinearWeight& weight, const Shape& shape) {
    const int64_t t = shape.tokens, g = shape.groups;
    Tensor<Bf16, 2> poison(t, shape.n);
    poison.Poison();
    const DeviceTensor dx(x), y(poison), again(poison);
    for (const auto* to : {&y, &again}) {
      cuda::TileGroupedLinear({.x = {dx.view().data, {t, g, shape.k}},
                               .weight = weight,
                               .y = {to->view().data, {t, g, shape.n / g}}},
                              stream);
    }
    Wait();
    const std::vector<Bf16> result = y.Fetch().values;
    EXPECT_TRUE(result == again.Fetch().values);
    for (const Bf16 v : result) actual.push_back(ToFloat(v));
  }

  void Wide(const Tensor<Bf16, 2>& x, const LinearWeight& weight, const Shape& shape) {
    Tensor<float, 2> poison(shape.tokens, shape.n);
    poison.Poison();
    const DeviceTensor dx(x);
    const DeviceTensor y(poison), again(poison);
    for (const auto* to : {&y, &again}) {
      cuda::TileBf16Linear({.x = dx.view(), .weight = weight, .y = to->view()}, stream);
    }
    Wait();
    actual = y.Fetch().values;
    EXPECT_EQ(actual, again.Fetch().values);
    rounded = false;
  }

  void Sample(const LinearWeight& weight, const Shape& shape, const std::vector<float>& x) {
    const int64_t n = shape.n, k = shape.k, g = shape.groups, all = shape.tokens * n;
    ASSERT_EQ(actual.size(), static_cast<size_t>(all));
    const int64_t samples = std::min<int64_t>(4000, 16'000'000 / k);
    std::vector<float> w(k);
    for (int64_t i = 0; i < std::min(samples, all); ++i) {
      const int64_t at = samples >= all ? i : random.Below(all), t = at / n, r = at % n;
      ReadWeightRow(weight, r, w.data());
      const float* const row = x.data() + (t * g + r / (n / g)) * k;
      double sum = 0, size = 0;
      for (int64_t j = 0; j < k; ++j) {
        const double product = static_cast<double>(row[j]) * w[j];
        sum += product;
        size += std::abs(product);
      }
      const double bound = static_cast<double>(k / 16 + 1) * 0x1p-22 * size;
      ASSERT_NEAR(actual[at], sum, bound + (rounded ? (std::abs(sum) + bound) * 0x1p-8 : 0))
          << "t=" << t << " n=" << r;
    }
    actual.clear();
    rounded = true;
  }

  Random random{std::random_device{}()};
  std::vector<float> actual;
  bool rounded = true;
};

TEST_F(TileLinearCudaTest, Fp8) {
  SCOPED_TRACE(random.Trace());
  for (const int64_t tokens : {1, 9, 31, 32, 33, 127, 128, 129, 300}) {
    Check(WeightFormat::kFp8, {tokens, 128, 128}, true);
    Check(WeightFormat::kFp8, {tokens, 384, 512}, true);
  }
  Check(WeightFormat::kFp8, {150, 1536, 4096}, true);
  Check(WeightFormat::kFp8, {70, 4096, 1024}, true);
}

TEST_F(TileLinearCudaTest, Fp4) {
  SCOPED_TRACE(random.Trace());
  for (const int64_t tokens : {1, 9, 31, 32, 33, 127, 128, 129, 300}) {
    Check(WeightFormat::kFp4, {tokens, 128, 128}, true);
    Check(WeightFormat::kFp4, {tokens, 36, 256}, true);
    Check(WeightFormat::kFp4, {tokens, 272, 512}, true);
  }
  Check(WeightFormat::kFp4, {129, 1024, 4096}, true);
}

TEST_F(TileLinearCudaTest, Bf16) {
  SCOPED_TRACE(random.Trace());
  for (const int64_t tokens : {1, 9, 33, 127, 128, 129, 300}) {
    Check(WeightFormat::kBf16, {tokens, 1, 1}, false);
    Check(WeightFormat::kBf16, {tokens, 10, 130}, false);
    Check(WeightFormat::kBf16, {tokens, 129, 384}, false);
  }
  Check(WeightFormat::kBf16, {100, 256, 4096}, false);
}

// Few products: for the sanitizers too.
TEST_F(TileLinearCudaTest, OneBlockScaledTile) {
  SCOPED_TRACE(random.Trace());
  Check(WeightFormat::kFp8, {33, 128, 256}, true, TileMath::kMx);
  Check(WeightFormat::kFp4, {33, 128, 256}, true, TileMath::kMx);
}

TEST_F(TileLinearCudaTest, BlockScaled) {
  SCOPED_TRACE(random.Trace());
  for (const int64_t tokens : {1, 9, 31, 32, 33, 65, 97, 113, 127, 128, 129, 300}) {
    Check(WeightFormat::kFp8, {tokens, 128, 128}, true, TileMath::kMx);
    Check(WeightFormat::kFp8, {tokens, 384, 512}, true, TileMath::kMx);
    Check(WeightFormat::kFp4, {tokens, 36, 256}, true, TileMath::kMx);
    Check(WeightFormat::kFp4, {tokens, 272, 384}, true, TileMath::kMx);
  }
  Check(WeightFormat::kFp8, {150, 1536, 4096}, true, TileMath::kMx);
  Check(WeightFormat::kFp4, {129, 1024, 4096}, true, TileMath::kMx);
  Check(WeightFormat::kFp8, {2049, 4096, 256}, true, TileMath::kMx);  // the largest tiles
  Check(WeightFormat::kFp4, {4000, 4080, 128}, true, TileMath::kMx);
}

TEST_F(TileLinearCudaTest, Groups) {
  SCOPED_TRACE(random.Trace());
  for (const int64_t tokens : {1, 65, 128, 129}) {
    Check(WeightFormat::kFp8, {tokens, 256, 512, 2}, false);
    Check(WeightFormat::kFp8, {tokens, 128, 256, 1}, false);
    Check(WeightFormat::kBf16, {tokens, 144, 200, 3}, false);
  }
  Check(WeightFormat::kFp8, {129, 4096, 1024, 4}, false);
}

TEST_F(TileLinearCudaTest, LargeTiles) {
  SCOPED_TRACE(random.Trace());
  Check(WeightFormat::kFp8, {2049, 4096, 256}, true);
  Check(WeightFormat::kFp4, {4000, 4080, 128}, true);
  Check(WeightFormat::kBf16, {2049, 4090, 72}, false);
  Check(WeightFormat::kFp8, {1025, 8192, 128, 8}, false);
}

// 192 and 180 of the largest tiles: on 132 processors two blocks have each of the last 60 and 48.
TEST_F(TileLinearCudaTest, TilesOfTwoBlocks) {
  SCOPED_TRACE(random.Trace());
  Check(WeightFormat::kFp8, {4090, 1536, 256}, true);
  Check(WeightFormat::kFp8, {4096, 1536, 768}, true);
  Check(WeightFormat::kFp4, {3800, 1536, 512}, true);
}

}  // namespace
}  // namespace tandem::kernels
