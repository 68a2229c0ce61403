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
  if (weight.row_stride != 0) KERNEL_CHECK_GE(weight.row_stride, RowBytes(weight));
  if (weight.format == WeightFormat::kBf16) return;
  if (weight.scale_stride != 0) KERNEL_CHECK_GE(weight.scale_stride, ScaleRowBytes(weight));
  KERNEL_CHECK(weight.scales != nullptr);
  KERNEL_CHECK_MULTIPLE(weight.k, kFp8Block);
  if (weight.format == WeightFormat::kFp8) KERNEL_CHECK_MULTIPLE(weight.n, kFp8Block);
}

int64_t ScaleRows(const LinearWeight& weight) {
  if (weight.format == WeightFormat::kBf16) return 0;
  return weight.format == WeightFormat::kFp8 ? weight.n / kFp8Block : weight.n;
}

int64_t ScaleRowBytes(const LinearWeight& weight) {
  if (weight.format == WeightFormat::kBf16) return 0;
  return weight.k / (weight.format == WeightFormat::kFp8 ? kFp8Block : kFp4Group);
}

int64_t ScaleCount(const LinearWeight& weight) {
  return ScaleRows(weight) * ScaleRowBytes(weight);
}

int64_t RowBytes(const LinearWeight& weight) {
  if (weight.format == WeightFormat::kBf16) return 2 * weight.k;
  return weight.format == WeightFormat::kFp8 ? weight.k : weight.k / 2;
}

const uint8_t* RowAt(const LinearWeight& weight, int64_t row) {
  return weight.bytes + row * (weight.row_stride != 0 ? weight.row_stride : RowBytes(weight));
}

const uint8_t* ScaleRowAt(const LinearWeight& weight, int64_t scale_row) {
  const int64_t stride = weight.scale_stride != 0 ? weight.scale_stride : ScaleRowBytes(weight);
  return weight.scales + scale_row * stride;
}

void ReadWeightRow(const LinearWeight& weight, int64_t row, float* values) {
  const int64_t k = weight.k;
  const uint8_t* const codes = RowAt(weight, row);
  switch (weight.format) {
    case WeightFormat::kBf16:
      for (int64_t i = 0; i < k; ++i) values[i] = ToFloat(LoadBf16(codes + 2 * i));
      return;
    case WeightFormat::kFp8: {
      const uint8_t* scales = ScaleRowAt(weight, row / kFp8Block);
      for (int64_t i = 0; i < k; ++i) {
        values[i] = ToFloat(E4M3{codes[i]}) * ToFloat(Ue8m0{scales[i / kFp8Block]});
      }
      return;
    }
    case WeightFormat::kFp4: {
      const uint8_t* scales = ScaleRowAt(weight, row);
      for (int64_t i = 0; i < k; ++i) {
        const uint8_t code = i % 2 == 0 ? codes[i / 2] & 15 : codes[i / 2] >> 4;
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
