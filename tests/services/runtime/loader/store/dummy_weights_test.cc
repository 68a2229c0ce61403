// SPDX-License-Identifier: Apache-2.0
// Goal: made-up tensors are what was asked for, valid, well scaled, the same under the same name
// and others under another. Method: every dtype asked for at sizes from small to more than a run of
// repeated bytes.
#include "services/runtime/loader/store/dummy_weights.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kernels/gemm/linear_weight.h"

namespace tandem {
namespace {

TensorBytes Found(DummyWeights& store, const TensorAsk& ask) {
  const auto found = store.Find(ask);
  EXPECT_TRUE(found.ok()) << found.status();
  EXPECT_EQ((*found)->dtype, ask.dtype);
  EXPECT_EQ((*found)->shape, ask.shape);
  return **found;
}

const uint8_t* Bytes(const TensorBytes& tensor) {
  return reinterpret_cast<const uint8_t*>(tensor.bytes.data());
}

// A linear of n x k under `name`.
kernels::LinearWeight Linear(DummyWeights& store, const std::string& name,
                             kernels::WeightFormat format) {
  kernels::LinearWeight out{.format = format, .n = 256, .k = 1024};
  const bool fp8 = format == kernels::WeightFormat::kFp8;
  out.bytes = Bytes(Found(store, {.name = name + ".weight",
                                  .dtype = fp8 ? Dtype::kF8E4M3 : Dtype::kI8,
                                  .shape = {out.n, kernels::RowBytes(out)},
                                  .inputs = out.k}));
  out.scales = Bytes(Found(store, {.name = name + ".scale",
                                   .dtype = Dtype::kF8E8M0,
                                   .shape = {kernels::ScaleRows(out), kernels::ScaleRowBytes(out)},
                                   .inputs = out.k}));
  return out;
}

TEST(DummyWeightsTest, LinearsKeepTheSizeOfWhatGoesIn) {
  DummyWeights store;
  for (const auto format : {kernels::WeightFormat::kFp8, kernels::WeightFormat::kFp4}) {
    const kernels::LinearWeight weight =
        Linear(store, absl::StrCat("w", static_cast<int>(format)), format);
    double squares = 0;
    std::vector<float> row(weight.k);
    for (int64_t n = 0; n < weight.n; ++n) {
      kernels::ReadWeightRow(weight, n, row.data());
      for (const float value : row) {
        ASSERT_TRUE(std::isfinite(value));
        squares += double{value} * value;
      }
    }
    const double gain = std::sqrt(squares / static_cast<double>(weight.n));
    EXPECT_GT(gain, 0.4);
    EXPECT_LT(gain, 2.5);
  }
}

TEST(DummyWeightsTest, ATensorMayBeLargerThanWhatMemoryHolds) {
  DummyWeights store;
  const TensorBytes head = Found(
      store,
      {.name = "head.weight", .dtype = Dtype::kBf16, .shape = {129280, 4096}, .inputs = 4096});
  ASSERT_EQ(head.bytes.size(), size_t{129280} * 4096 * 2);
  EXPECT_NE(head.bytes.back(), std::byte{0});
  const auto row = [&](size_t i) {
    return std::string(reinterpret_cast<const char*>(head.bytes.data()) + i * 8192, 8192);
  };
  std::set<std::string> rows;
  for (size_t i = 0; i < 2000; ++i) rows.insert(row(64 * i));
  EXPECT_GT(rows.size(), 1500u);
}

TEST(DummyWeightsTest, ANameHasItsValues) {
  DummyWeights store, other;
  const auto norm = [](DummyWeights& from, const std::string& name) {
    const TensorBytes bytes = Found(from, {.name = name, .dtype = Dtype::kBf16, .shape = {64}});
    return std::string(reinterpret_cast<const char*>(bytes.bytes.data()), bytes.bytes.size());
  };
  EXPECT_EQ(norm(store, "a.norm.weight"), norm(other, "a.norm.weight"));
  EXPECT_EQ(norm(store, "a.norm.weight"), norm(store, "a.norm.weight"));
  EXPECT_NE(norm(store, "a.norm.weight"), norm(store, "b.norm.weight"));
  EXPECT_EQ(store.tensors().size(), 2u);
}

TEST(DummyWeightsTest, TablesNameDifferentExpertsThatExist) {
  DummyWeights store;
  for (const int64_t experts : {6, 16, 256}) {
    const TensorBytes table = Found(store, {.name = absl::StrCat(experts, ".tid2eid"),
                                            .dtype = Dtype::kI64,
                                            .shape = {1000, 6},
                                            .below = experts});
    const auto* at = reinterpret_cast<const int64_t*>(table.bytes.data());
    for (int row = 0; row < 1000; ++row, at += 6) {
      const std::set<int64_t> named(at, at + 6);
      ASSERT_EQ(named.size(), 6u);
      ASSERT_GE(*named.begin(), 0);
      ASSERT_LT(*named.rbegin(), experts);
    }
  }
}

}  // namespace
}  // namespace tandem
