// SPDX-License-Identifier: Apache-2.0
// indexer_topk by a given product (indexer_query.cuh): kBytes on every machine, kMx where
// NativeTileMath() has it; elsewhere kMx is emulated, for tests. Contract: indexer_topk.h.
// Internal to kernels/attention.
#pragma once

#include "kernels/attention/indexer_topk.h"

namespace tandem::kernels::cuda {

enum class IndexerMath { kBytes, kMx };

void IndexerTopk(const IndexerTopkArgs& args, IndexerMath math, Stream& stream);

}  // namespace tandem::kernels::cuda
