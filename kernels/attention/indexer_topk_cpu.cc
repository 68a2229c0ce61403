// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/attention/indexer_topk.h"
#include "kernels/attention/topk_rows.h"

namespace tandem::kernels {
namespace {

float Score(const ScoreInput& input, int32_t index) {
  float key[kIndexDim];
  ReadIndexerRow(input.keys, index, key);
  double score = 0;
  for (int64_t h = 0; h < input.heads; ++h) {
    double dot = 0;
    for (int i = 0; i < kIndexDim; ++i) {
      dot += static_cast<double>(input.q[h * kIndexDim + i]) * key[i];
    }
    score += std::max(dot, 0.0) * input.weight[h];
  }
  return static_cast<float>(score);
}

}  // namespace

namespace cpu {

void IndexerTopk(const IndexerTopkArgs& args, Stream& stream) {
  IndexerTopkWith(Score, args, stream);
}

}  // namespace cpu

}  // namespace tandem::kernels
