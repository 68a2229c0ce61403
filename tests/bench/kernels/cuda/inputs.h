// SPDX-License-Identifier: Apache-2.0
// Inputs that several families' cases need: host values on the device, and a step's batch there.
// As RandomBytes, all of it lives until its case has run.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "kernels/common/batch.h"
#include "kernels/common/contract.h"
#include "kernels/common/paged_rows.h"
#include "tests/bench/kernels/cuda/bench.h"

namespace tandem::kernels {

template <typename T>
T* Upload(const std::vector<T>& values) {
  const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
  uint8_t* device = RandomBytes(bytes, 1);
  KERNEL_CHECK_EQ(
      cudaMemcpy(device, values.data(), static_cast<size_t>(bytes), cudaMemcpyHostToDevice),
      cudaSuccess);
  return reinterpret_cast<T*>(device);
}

// A step of `sequences` with `tokens` each from position `first`; sequence s owns slot s and the
// `pages` pages from s·pages.
inline Batch UploadBatch(int64_t sequences, int64_t tokens, int64_t first, int64_t pages) {
  std::vector<int32_t> positions, sequence, begin = {0}, slot, table;
  for (int64_t s = 0; s < sequences; ++s) {
    for (int64_t i = 0; i < tokens; ++i) {
      positions.push_back(static_cast<int32_t>(first + i));
      sequence.push_back(static_cast<int32_t>(s));
    }
    begin.push_back(static_cast<int32_t>((s + 1) * tokens));
    slot.push_back(static_cast<int32_t>(s));
    for (int64_t p = 0; p < pages; ++p) table.push_back(static_cast<int32_t>(s * pages + p));
  }
  const int64_t t = sequences * tokens;
  return {.positions = {Upload(positions), {t}},
          .sequence = {Upload(sequence), {t}},
          .begin = {Upload(begin), {sequences + 1}},
          .slot = {Upload(slot), {sequences}},
          .pages = {Upload(table), {sequences, pages}}};
}

}  // namespace tandem::kernels
