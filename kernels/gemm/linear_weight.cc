// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/linear_weight.h"

#include <cstring>

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"

namespace tandem::kernels {
namespace {

constexpr int64_t kFp8Block = 128;
constexpr int64_t kFp4Group = 32;

Bf16 LoadBf16(const uint8_t* bytes) {
  Bf16 value;
  std::memcpy(&value, bytes, sizeof(value));  // the mapping may be unaligned
  return value;
}

}  // namespace

void CheckLinearWeight(const LinearWeight& weight) {
  KERNEL_CHECK(weight.bytes != nullptr);
  KERNEL_CHECK_GE(weight.n, 1);
  KERNEL_CHECK_GE(weight.k, 1);
  if (weight.format == WeightFormat::kBf16) return;
  KERNEL_CHECK(weight.scales != nullptr);
  KERNEL_CHECK_MULTIPLE(weight.k, kFp8Block);
  if (weight.format == WeightFormat::kFp8) KERNEL_CHECK_MULTIPLE(weight.n, kFp8Block);
}

int64_t ScaleCount(const LinearWeight& weight) {
  switch (weight.format) {
    case WeightFormat::kBf16:
      return 0;
    case WeightFormat::kFp8:
      return weight.n / kFp8Block * (weight.k / kFp8Block);
    case WeightFormat::kFp4:
      return weight.n * (weight.k / kFp4Group);
  }
  return 0;
}

void ReadWeightRow(const LinearWeight& weight, int64_t row, float* values) {
  const int64_t k = weight.k;
  switch (weight.format) {
    case WeightFormat::kBf16:
      for (int64_t i = 0; i < k; ++i)
        values[i] = ToFloat(LoadBf16(weight.bytes + 2 * (row * k + i)));
      return;
    case WeightFormat::kFp8: {
      const uint8_t* scales = weight.scales + row / kFp8Block * (k / kFp8Block);
      for (int64_t i = 0; i < k; ++i) {
        values[i] =
            ToFloat(E4M3{weight.bytes[row * k + i]}) * ToFloat(Ue8m0{scales[i / kFp8Block]});
      }
      return;
    }
    case WeightFormat::kFp4: {
      const uint8_t* scales = weight.scales + row * (k / kFp4Group);
      for (int64_t i = 0; i < k; ++i) {
        const uint8_t byte = weight.bytes[(row * k + i) / 2];
        const uint8_t code = i % 2 == 0 ? byte & 15 : byte >> 4;
        values[i] = E2M1ToFloat(code) * ToFloat(Ue8m0{scales[i / kFp4Group]});
      }
      return;
    }
  }
}

namespace cpu {

int64_t PreparedBytes(const LinearWeight& /*weight*/) {
  return 0;
}
void PrepareLinear(LinearWeight* /*weight*/, std::span<uint8_t> /*storage*/) {}

}  // namespace cpu

}  // namespace tandem::kernels
