// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/testing.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

namespace tandem::kernels {
namespace {

constexpr int64_t kAlign = 64;

int64_t ScaleBytes(WeightFormat format, int64_t n, int64_t k) {
  return ScaleCount({.format = format, .n = n, .k = k});
}

int64_t CodeBytes(WeightFormat format, int64_t n, int64_t k) {
  return format == WeightFormat::kBf16  ? 2 * n * k
         : format == WeightFormat::kFp8 ? n * k
                                        : n * k / 2;
}

template <typename T>
T Read(const std::vector<char>& file, size_t& at) {
  T value;
  std::memcpy(&value, file.data() + at, sizeof(T));
  at += sizeof(T);
  return value;
}

}  // namespace

OwnedWeight::OwnedWeight(WeightFormat format, int64_t n, int64_t k, std::vector<uint8_t> bytes,
                         std::vector<uint8_t> scales)
    : bytes_(std::move(bytes)), scales_(std::move(scales)) {
  plain_ = {.format = format,
            .n = n,
            .k = k,
            .bytes = bytes_.data(),
            .scales = scales_.empty() ? nullptr : scales_.data()};
}

OwnedWeight::OwnedWeight(WeightFormat format, int64_t n, int64_t k, Random& random)
    : OwnedWeight(format, n, k, std::vector<uint8_t>(CodeBytes(format, n, k)),
                  std::vector<uint8_t>(ScaleBytes(format, n, k))) {
  for (uint8_t& scale : scales_) scale = static_cast<uint8_t>(119 + random.Below(4));
  if (format == WeightFormat::kBf16) {
    for (int64_t i = 0; i < n * k; ++i) {
      const Bf16 value = ToBf16(random.Normal());
      std::memcpy(bytes_.data() + 2 * i, &value, 2);
    }
    return;
  }
  for (uint8_t& byte : bytes_) {
    byte = static_cast<uint8_t>(random.Below(256));
    if (format == WeightFormat::kFp8 && (byte & 0x7F) == 0x7F) byte = 0;
  }
}

LinearWeight OwnedWeight::For(const KernelTable& kernels) {
  LinearWeight weight = plain_;
  const int64_t bytes = kernels.prepared_bytes(weight);
  std::vector<uint8_t>& storage = storage_[&kernels];
  storage.assign(bytes + kAlign, 0);
  const auto address = reinterpret_cast<uintptr_t>(storage.data());
  kernels.prepare_linear(
      &weight, {storage.data() + (kAlign - address % kAlign) % kAlign, static_cast<size_t>(bytes)});
  return weight;
}

Golden::Golden(const std::string& name) {
  std::ifstream in(std::string(TANDEM_SOURCE_DIR) + "/tests/golden/kernels/" + name + ".bin",
                   std::ios::binary);
  const std::vector<char> file{std::istreambuf_iterator<char>(in), {}};
  EXPECT_FALSE(file.empty()) << name;
  constexpr int kDtypeBytes[] = {1, 2, 4, 4, 8};
  for (size_t at = 0; at < file.size();) {
    const auto length = Read<uint32_t>(file, at);
    const std::string tensor(file.data() + at, length);
    at += length;
    const auto dtype = Read<uint32_t>(file, at), rank = Read<uint32_t>(file, at);
    Entry entry;
    size_t bytes = kDtypeBytes[dtype];
    for (uint32_t i = 0; i < rank; ++i) {
      entry.shape.push_back(Read<int64_t>(file, at));
      bytes *= static_cast<size_t>(entry.shape.back());
    }
    entry.bytes.assign(file.begin() + static_cast<std::ptrdiff_t>(at),
                       file.begin() + static_cast<std::ptrdiff_t>(at + bytes));
    at += bytes;
    entries_[tensor] = std::move(entry);
  }
}

const Golden::Entry& Golden::Find(const std::string& tensor) const {
  const auto found = entries_.find(tensor);
  EXPECT_NE(found, entries_.end()) << tensor;
  return found->second;
}

void ExpectNear(const std::vector<Bf16>& actual, const std::vector<Bf16>& expected, double slack) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    const double a = ToFloat(actual[i]), b = ToFloat(expected[i]);
    if (a == b) continue;
    ASSERT_LE(std::abs(a - b), slack + std::max(std::abs(a), std::abs(b)) / 128) << "at " << i;
  }
}

void ExpectNear(const std::vector<float>& actual, const std::vector<float>& expected,
                double relative, double absolute) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    const double a = actual[i], b = expected[i];
    if (a == b) continue;
    ASSERT_LE(std::abs(a - b), absolute + relative * std::abs(b)) << "at " << i;
  }
}

}  // namespace tandem::kernels
