// SPDX-License-Identifier: Apache-2.0
// Goal: weights come into fragment order, byte for byte. Method: fresh random weights of every
// format, sizes at and around a tile, from host and device memory; every code where FragmentBit and
// every scale where Fp4ScaleByte says, zeros elsewhere.
#include <utility>

#include "kernels/gemm/fragment_order.h"
#include "kernels/gemm/linear_weight.h"
#include "tests/kernels/cuda/device.h"
#include "tests/kernels/gemm/fragments.h"

namespace tandem::kernels {
namespace {

uint32_t Code(const LinearWeight& w, int64_t row, int64_t column) {
  const int64_t at = row * w.k + column;
  if (w.format == WeightFormat::kFp8) return w.bytes[at];
  if (w.format == WeightFormat::kFp4) return (w.bytes[at / 2] >> (at % 2 * 4)) & 15u;
  return w.bytes[2 * at] | (uint32_t{w.bytes[2 * at + 1]} << 8);
}

class LinearWeightCudaTest : public OnDevice {
 protected:
  void ExpectFragmentOrder(const OwnedWeight& owned) {
    const LinearWeight& plain = owned.plain();
    std::vector<uint8_t> expected(FragmentBytes(plain));
    PackFragments(plain, expected.data());
    const auto size = static_cast<int64_t>(expected.size());
    ASSERT_EQ(cuda.prepared_bytes(plain), size);
    const int64_t codes = plain.n * plain.k * CodeBits(plain.format) / 8;
    DeviceBytes bytes(codes), scales(ScaleCount(plain));
    bytes.Write(plain.bytes, codes);
    if (plain.scales != nullptr) scales.Write(plain.scales, scales.size());
    for (const bool on_device : {false, true}) {
      LinearWeight weight = plain;
      if (on_device) {
        weight.bytes = bytes.data();
        if (plain.scales != nullptr) weight.scales = scales.data();
      }
      DeviceBytes storage(size + 64);
      const std::vector<uint8_t> poison(size + 64, 0xA5);
      storage.Write(poison.data(), size + 64);
      cuda.prepare_linear(&weight, {storage.data(), static_cast<size_t>(size)});
      ASSERT_EQ(weight.prepared, storage.data());
      std::vector<uint8_t> actual(size + 64);
      storage.Read(actual.data(), size + 64);
      for (int64_t i = 0; i < size; ++i) {
        ASSERT_EQ(actual[i], expected[i]) << "byte " << i << " of " << plain.n << "x" << plain.k;
      }
      for (int64_t i = size; i < size + 64; ++i) ASSERT_EQ(actual[i], 0xA5);
    }
  }
};

TEST_F(LinearWeightCudaTest, EveryCodeIsWhereFragmentOrderSays) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{128, 128}, {128, 1024}, {384, 256}}) {
    ExpectFragmentOrder(OwnedWeight(WeightFormat::kFp8, n, k, random));
  }
  for (const auto& [n, k] :
       {std::pair<int64_t, int64_t>{1, 128}, {15, 128}, {16, 256}, {17, 384}, {256, 512}}) {
    ExpectFragmentOrder(OwnedWeight(WeightFormat::kFp4, n, k, random));
  }
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{1, 1},
                             {10, 130},
                             {15, 31},
                             {16, 32},
                             {17, 33},
                             {33, 65},
                             {256, 512}}) {
    ExpectFragmentOrder(OwnedWeight(WeightFormat::kBf16, n, k, random));
  }
}

// A rank's columns of a matrix against the same columns by themselves.
TEST_F(LinearWeightCudaTest, APartOfAMatrixComesAlone) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  const int64_t n = 384, k = 1024, part = 256, first = 512;
  for (const WeightFormat format : {WeightFormat::kBf16, WeightFormat::kFp8, WeightFormat::kFp4}) {
    const OwnedWeight owned(format, n, k, random);
    LinearWeight view = owned.plain();
    view.k = part;
    view.row_stride = RowBytes(owned.plain());
    view.scale_stride = ScaleRowBytes(owned.plain());
    view.bytes += view.row_stride * first / k;
    if (view.scales != nullptr) view.scales += view.scale_stride * first / k;
    std::vector<uint8_t> bytes, scales;
    for (int64_t row = 0; row < n; ++row) {
      bytes.insert(bytes.end(), RowAt(view, row), RowAt(view, row) + RowBytes(view));
    }
    for (int64_t row = 0; row < ScaleRows(view); ++row) {
      const uint8_t* const at = ScaleRowAt(view, row);
      scales.insert(scales.end(), at, at + ScaleRowBytes(view));
    }
    const OwnedWeight alone(format, n, part, std::move(bytes), std::move(scales));
    std::vector<uint8_t> expected(FragmentBytes(alone.plain()));
    PackFragments(alone.plain(), expected.data());
    const auto size = static_cast<int64_t>(expected.size());
    ASSERT_EQ(cuda.prepared_bytes(view), size);
    DeviceBytes storage(size);
    cuda.prepare_linear(&view, {storage.data(), static_cast<size_t>(size)});
    std::vector<uint8_t> actual(expected.size());
    storage.Read(actual.data(), size);
    EXPECT_EQ(actual, expected) << static_cast<int>(format);
  }
}

TEST_F(LinearWeightCudaTest, AWeightLargerThanTheStagingBufferComesInPieces) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  const int64_t n = 8193 + 16, k = 4096;  // 64 MiB of bf16 and a little
  std::vector<uint8_t> bytes(2 * n * k);
  uint64_t state = static_cast<uint64_t>(random.Below(int64_t{1} << 62)) | 1;
  for (uint8_t& byte : bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<uint8_t>(state >> 56);
  }
  const OwnedWeight owned(WeightFormat::kBf16, n, k, std::move(bytes), {});
  LinearWeight weight = owned.plain();
  const int64_t size = cuda.prepared_bytes(weight);
  const DeviceBytes storage(size);
  cuda.prepare_linear(&weight, {storage.data(), static_cast<size_t>(size)});
  std::vector<uint8_t> actual(size);
  storage.Read(actual.data(), size);
  for (int i = 0; i < 200000; ++i) {
    const int64_t row = i < 64 ? n - 1 - i : random.Below(n), column = random.Below(k);
    const int64_t at = FragmentBit(weight.format, k, row, column) / 8;
    ASSERT_EQ(actual[at] | (uint32_t{actual[at + 1]} << 8), Code(owned.plain(), row, column));
  }
}

}  // namespace
}  // namespace tandem::kernels
