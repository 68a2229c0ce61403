// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/topk_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace tandem::kernels {
namespace {

void UnpackQuery(const IndexerTopkArgs& args, int64_t t, float* q, float* weight) {
  for (int64_t h = 0; h < args.q.shape[1]; ++h) {
    const Ue8m0* scale = args.q_scale.row(t) + h * kIndexRowScales;
    const uint8_t scales[kIndexRowScales] = {scale[0].bits, scale[1].bits, scale[2].bits,
                                             scale[3].bits};
    ReadE2M1(args.q.row(t) + h * kIndexRowBytes, scales, q + h * kIndexDim);
    weight[h] = RoundBf16(RoundBf16(args.proj.row(t)[h]) * args.weight_scale);
  }
}

// The k best of n > k scores, ties to the lowest index, in ascending index: into order[0 .. k).
void Best(const float* score, int64_t n, int64_t k, int32_t* order) {
  std::iota(order, order + n, 0);
  std::nth_element(order, order + k, order + n, [score](int32_t a, int32_t b) {
    return score[a] != score[b] ? score[a] > score[b] : a < b;
  });
  std::sort(order, order + k);
}

}  // namespace

void IndexerTopkWith(ScoreFunction score, const IndexerTopkArgs& args, Stream& stream) {
  CheckIndexerTopk(args);
  const Batch& batch = args.batch;
  const int64_t heads = args.q.shape[1], topk = args.rows.shape[1];
  for (int64_t t = 0; t < batch.tokens(); ++t) {
    const int32_t* pages = batch.pages.row(batch.sequence[t]);
    const int64_t visible = (batch.positions[t] + 1) / 4, kept = std::min(visible, topk);
    KERNEL_CHECK_LE(visible * 4, batch.pages.shape[1] * kPageTokens);
    int32_t* rows = args.rows.row(t);
    if (visible <= topk) {
      for (int64_t j = 0; j < visible; ++j) rows[j] = CompressedRow(pages, j, 4);
    } else {
      Scratch scratch(stream);
      float* q = scratch.Take<float>(heads * kIndexDim);
      float* weight = scratch.Take<float>(heads);
      float* scores = scratch.Take<float>(visible);
      int32_t* order = scratch.Take<int32_t>(visible);
      UnpackQuery(args, t, q, weight);
      for (int64_t j = 0; j < visible; ++j) {
        const ScoreInput input{.q = q, .weight = weight, .heads = heads, .keys = args.keys};
        const float value = score(input, CompressedRow(pages, j, 4));
        scores[j] = std::isnan(value) ? -std::numeric_limits<float>::infinity() : value;
      }
      Best(scores, visible, kept, order);
      for (int64_t i = 0; i < kept; ++i) rows[i] = CompressedRow(pages, order[i], 4);
    }
    std::fill(rows + kept, rows + topk, -1);
  }
}

}  // namespace tandem::kernels
