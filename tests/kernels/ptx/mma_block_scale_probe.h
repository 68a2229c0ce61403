// SPDX-License-Identifier: Apache-2.0
// One block-scaled product a warp, registers given: for tests.
#pragma once

#include <cstdint>

#include "kernels/common/stream.h"
#include "kernels/ptx/mma_block_scale.h"

namespace tandem::kernels::cuda {

inline constexpr int kScaleSelects = 4 * 2 * 4 * 4;
constexpr ptx::ScaleSelect ProbedSelect(int i) {
  return {i % 4, i / 4 % 2, i / 8 % 4, i / 32 % 4};
}

inline constexpr int kFp4ScaleSelects = 2 * 2 * 2 * 4;
constexpr ptx::ScaleSelect ProbedFp4Select(int i) {
  return {2 * (i % 2), i / 2 % 2, 2 * (i / 4 % 2), i / 8 % 4};
}

// Image w: 32 lanes' registers at words + w·32·kMxRegisters and sums at d + w·32·4, in device
// memory. d += product, with ProbedSelect(w % kScaleSelects).
void ProbeMmaBlockScale(ptx::MxType type_a, const uint32_t* words, float* d, int images,
                        Stream& stream);
// The same of FP4, with ProbedFp4Select(w % kFp4ScaleSelects).
void ProbeMmaFp4(const uint32_t* words, float* d, int images, Stream& stream);

}  // namespace tandem::kernels::cuda
