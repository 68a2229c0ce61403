// SPDX-License-Identifier: Apache-2.0
// LinearWeight: a matrix W[n,k] of a linear layer y = x·Wᵀ in one of the checkpoint's three
// formats, read in place.
//
//   kFp8   bytes[n,k] E4M3, scales[n/128, k/128] UE8M0: w = e4m3 · 2^(scale−127). n and k multiples
//   of 128. kFp4   bytes[n,k/2] E2M1 (low nibble = even column), scales[n, k/32] UE8M0. k a
//   multiple of 128. kBf16  bytes[n,k] bf16 little endian; no scales; any n and k.
//
// A part of a larger matrix, rows or columns from one on, is a view like the whole: its rows lie a
// stride apart.
//
// Borrows everything: checkpoint bytes from the loader's mapping, `prepared` from the owner of the
// storage that PrepareLinear filled. A value; copies describe the same matrix.
// Source: reference/deepseek_v4.md 2.4.
#pragma once

#include <cstdint>
#include <span>

namespace tandem::kernels {

enum class WeightFormat { kBf16, kFp8, kFp4 };

struct LinearWeight {
  WeightFormat format = WeightFormat::kBf16;
  int64_t n = 0;  // outputs
  int64_t k = 0;  // inputs
  const uint8_t* bytes = nullptr;
  const uint8_t* scales = nullptr;    // null for kBf16
  const uint8_t* prepared = nullptr;  // a backend's own form; null: not prepared
  // Bytes from a row of codes, or of scales, to the next; 0: they follow each other.
  int64_t row_stride = 0;
  int64_t scale_stride = 0;
};

// Shape, format and pointers are as above; fatal otherwise.
void CheckLinearWeight(const LinearWeight& weight);

// Scales of the matrix, a byte each, and rows of them.
int64_t ScaleCount(const LinearWeight& weight);
int64_t ScaleRows(const LinearWeight& weight);

// Bytes of one row's codes, and of one row of scales.
int64_t RowBytes(const LinearWeight& weight);
int64_t ScaleRowBytes(const LinearWeight& weight);

// Where a row of codes, or of scales, begins.
const uint8_t* RowAt(const LinearWeight& weight, int64_t row);
const uint8_t* ScaleRowAt(const LinearWeight& weight, int64_t scale_row);

// W[row, :] in fp32, exact.
void ReadWeightRow(const LinearWeight& weight, int64_t row, float* values);

// A backend's own form of a weight. PreparedBytes says how much storage it wants (0: none);
// PrepareLinear fills `storage`, which must be that large, aligned to 64 bytes and outlive the
// weight's use, and sets weight->prepared. Deterministic; different weights may be prepared in
// parallel. A linear whose weight was not prepared reads checkpoint bytes, slowly; on CUDA it must
// be prepared.
namespace cpu {  // 0 bytes, does nothing
int64_t PreparedBytes(const LinearWeight& weight);
void PrepareLinear(LinearWeight* weight, std::span<uint8_t> storage);
}  // namespace cpu
namespace fast {  // exact bf16 panels; 0 bytes if a scale leaves bf16's normal range
int64_t PreparedBytes(const LinearWeight& weight);
void PrepareLinear(LinearWeight* weight, std::span<uint8_t> storage);
}  // namespace fast
namespace cuda {  // fragment order, in device memory; `bytes` and `scales` on either side
int64_t PreparedBytes(const LinearWeight& weight);
void PrepareLinear(LinearWeight* weight, std::span<uint8_t> storage);
}  // namespace cuda

}  // namespace tandem::kernels
