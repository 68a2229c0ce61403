// SPDX-License-Identifier: Apache-2.0
// Batch: how the T tokens of one step belong to S sequences, and where those keep their state.
//
// The tokens of sequence s are begin[s] .. begin[s+1]-1, at consecutive positions; a decode step
// has one token a sequence. Token t of sequence s at position p keeps its rows in page pages[s][p /
// 256], in ring row p mod 128 of slot[s]. Borrowed views; the values are the caller's promise (a
// CPU backend checks them where it reads them).
#pragma once

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct Batch {
  TensorView<const int32_t, 1> positions;  // [T] 0-based
  TensorView<const int32_t, 1> sequence;   // [T] index of the token's sequence in this step
  TensorView<const int32_t, 1> begin;      // [S + 1]
  TensorView<const int32_t, 1> slot;       // [S]
  TensorView<const int32_t, 2> pages;  // [S, P] page ids in order of position; -1 beyond the last

  TANDEM_HOST_DEVICE int64_t tokens() const { return positions.shape[0]; }
  TANDEM_HOST_DEVICE int64_t sequences() const { return slot.shape[0]; }
};

inline void CheckBatch(const Batch& batch) {
  KERNEL_CHECK_EQ(batch.sequence.shape[0], batch.tokens());
  KERNEL_CHECK_EQ(batch.begin.shape[0], batch.sequences() + 1);
  KERNEL_CHECK_EQ(batch.pages.shape[0], batch.sequences());
  KERNEL_CHECK(batch.positions.data != nullptr || batch.tokens() == 0);
}

}  // namespace tandem::kernels
