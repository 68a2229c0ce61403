// SPDX-License-Identifier: Apache-2.0
// What the indexer's backends share: all but the score of one row.
// Internal to kernels/attention. Source: reference/deepseek_v4.md 3.7.
#pragma once

#include <cstdint>

#include "kernels/attention/indexer_topk.h"

namespace tandem::kernels {

// One query: q [H,128] as fp32, the heads' weights [H], and the key row at `index`; a score in
// fp32.
struct ScoreInput {
  const float* q;
  const float* weight;
  int64_t heads;
  ConstIndexerPages keys;
};
using ScoreFunction = float (*)(const ScoreInput& input, int32_t index);

void IndexerTopkWith(ScoreFunction score, const IndexerTopkArgs& args, Stream& stream);

}  // namespace tandem::kernels
