// SPDX-License-Identifier: Apache-2.0
// The keys of one query, in order: what a sparse_attention's lists name, without the -1.
// Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/sparse_attention.h"

namespace tandem::kernels {

// The most keys that the lists of one query can name.
inline int64_t KeyCapacity(const SparseAttentionArgs& args) {
  int64_t n = 0;
  for (const KeySource& source : args.sources) {
    if (source.rows.base != nullptr) n += source.index.shape[1];
  }
  return n;
}

// Reads the keys of query t into keys[n, 512]; returns n.
inline int64_t ReadKeys(const SparseAttentionArgs& args, int64_t t, float* keys) {
  int64_t n = 0;
  for (const KeySource& source : args.sources) {
    if (source.rows.base == nullptr) continue;
    for (int64_t i = 0; i < source.index.shape[1]; ++i) {
      const int32_t row = source.index.row(t)[i];
      if (row < 0) continue;
      KERNEL_CHECK_LE(row, source.rows.rows() - 1);
      ReadKvRow(source.rows, row, keys + kHeadDim * n++);
    }
  }
  return n;
}

}  // namespace tandem::kernels
