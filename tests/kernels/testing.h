// SPDX-License-Identifier: Apache-2.0
// What the kernel tests share: owned tensors, seeded random values, golden files, and both tables
// as a parameter.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "kernels/common/dtype.h"
#include "kernels/common/tensor.h"
#include "kernels/kernel_table.h"
#include "kernels/select.h"

namespace tandem::kernels {

// Runs a test on every table that is linked.
class OnTable : public testing::TestWithParam<Device> {
 protected:
  const KernelTable& kernels = SelectKernels(GetParam());
  Stream stream;
};
#define ON_EVERY_TABLE(suite)                                              \
  INSTANTIATE_TEST_SUITE_P(                                                \
      Tables, suite, testing::Values(Device::kCpuReference, Device::kCpu), \
      [](const auto& info) { return info.param == Device::kCpu ? "fast" : "reference"; })

// A tensor that owns its values.
template <typename T, int kRank>
struct Tensor {
  std::vector<T> values;
  TensorView<T, kRank> view;

  template <typename... Dims>
  explicit Tensor(Dims... dims) : view{nullptr, {static_cast<int64_t>(dims)...}} {
    values.resize(view.size());
    view.data = values.data();
  }
  Tensor(const Tensor& other) : values(other.values), view(other.view) {
    view.data = values.data();
  }
  Tensor& operator=(const Tensor&) = delete;
  operator TensorView<T, kRank>() const { return view; }        // NOLINT
  operator TensorView<const T, kRank>() const { return view; }  // NOLINT
  T& operator[](int64_t i) { return values[i]; }
  const T& operator[](int64_t i) const { return values[i]; }
  // Garbage that an operation must overwrite.
  Tensor& Poison() {
    std::memset(values.data(), 0xA5, values.size() * sizeof(T));
    return *this;
  }
};

// Rows begin .. begin+n−1 of a view.
template <typename T, int kRank>
TensorView<T, kRank> Rows(TensorView<T, kRank> view, int64_t begin, int64_t n) {
  view.data = view.row(begin);
  view.shape[0] = n;
  return view;
}

inline bool operator==(const std::vector<Bf16>& a, const std::vector<Bf16>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
}

// Seeded random values; the seed stands in every failure (SCOPED_TRACE(random.Trace())).
class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed), engine_(seed) {}
  std::string Trace() const { return "seed " + std::to_string(seed_); }
  float Normal() { return normal_(engine_); }
  int64_t Below(int64_t n) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n)); }

  template <int kRank>
  void Fill(Tensor<float, kRank>& tensor, float scale = 1) {
    for (float& v : tensor.values) v = Normal() * scale;
  }
  template <int kRank>
  void Fill(Tensor<Bf16, kRank>& tensor, float scale = 1) {
    for (Bf16& v : tensor.values) v = ToBf16(Normal() * scale);
  }

 private:
  uint64_t seed_;
  std::mt19937_64 engine_;
  std::normal_distribution<float> normal_;
};

// A weight with its bytes, prepared for a table.
class OwnedWeight {
 public:
  // Random codes (no NaN) under random scales around 2^-6.
  OwnedWeight(WeightFormat format, int64_t n, int64_t k, Random& random);
  OwnedWeight(WeightFormat format, int64_t n, int64_t k, std::vector<uint8_t> bytes,
              std::vector<uint8_t> scales);
  OwnedWeight(const OwnedWeight&) = delete;
  OwnedWeight& operator=(const OwnedWeight&) = delete;

  const LinearWeight& plain() const { return plain_; }
  // The weight in the table's own form.
  LinearWeight For(const KernelTable& kernels);

 private:
  std::vector<uint8_t> bytes_, scales_;
  std::map<const KernelTable*, std::vector<uint8_t>> storage_;
  LinearWeight plain_;
};

// A file of tests/golden/kernels.
class Golden {
 public:
  explicit Golden(const std::string& name);
  const std::vector<uint8_t>& bytes(const std::string& tensor) const { return Find(tensor).bytes; }
  template <typename T, int kRank>
  Tensor<T, kRank> Get(const std::string& tensor) const {
    const Entry& entry = Find(tensor);
    Tensor<T, kRank> out = Sized<T, kRank>(entry.shape);
    EXPECT_EQ(out.values.size() * sizeof(T), entry.bytes.size()) << tensor;
    std::memcpy(out.values.data(), entry.bytes.data(), entry.bytes.size());
    return out;
  }

 private:
  struct Entry {
    std::vector<int64_t> shape;
    std::vector<uint8_t> bytes;
  };
  template <typename T, int kRank>
  static Tensor<T, kRank> Sized(const std::vector<int64_t>& shape) {
    EXPECT_EQ(shape.size(), static_cast<size_t>(kRank));
    if constexpr (kRank == 1) return Tensor<T, 1>(shape[0]);
    if constexpr (kRank == 2) return Tensor<T, 2>(shape[0], shape[1]);
    if constexpr (kRank == 3) return Tensor<T, 3>(shape[0], shape[1], shape[2]);
  }
  const Entry& Find(const std::string& tensor) const;
  std::map<std::string, Entry> entries_;
};

// Equal but for the last rounding: |a − b| ≤ slack + one bf16 step of the larger (2^-7 of it at
// most).
void ExpectNear(const std::vector<Bf16>& actual, const std::vector<Bf16>& expected,
                double slack = 0);
void ExpectNear(const std::vector<float>& actual, const std::vector<float>& expected,
                double relative, double absolute);

}  // namespace tandem::kernels
