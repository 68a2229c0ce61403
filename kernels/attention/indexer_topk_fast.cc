// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/attention/indexer_topk.h"
#include "kernels/attention/lanes.h"
#include "kernels/attention/topk_rows.h"

namespace tandem::kernels {
namespace {

float Score(const ScoreInput& input, int32_t index) {
  float key[kIndexDim];
  ReadIndexerRow(input.keys, index, key);
  double score = 0;
  for (int64_t h = 0; h < input.heads; ++h) {
    const float dot = Dot(input.q + h * kIndexDim, key, kIndexDim);
    score += static_cast<double>(std::max(dot, 0.0f)) * input.weight[h];
  }
  return static_cast<float>(score);
}

}  // namespace

namespace fast {

void IndexerTopk(const IndexerTopkArgs& args, Stream& stream) {
  IndexerTopkWith(Score, args, stream);
}

}  // namespace fast

}  // namespace tandem::kernels
