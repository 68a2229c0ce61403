// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/sampling/top_logprobs.h"

namespace tandem::kernels {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

double ExpSum(const float* l, int64_t n, double most) {
  double sum = 0;
  for (int64_t v = 0; v < n; ++v) sum += l[v] == most ? 1.0 : std::exp(l[v] - most);
  return sum;
}

// An infinite norm leaves nothing to compare with: such a row has no probabilities.
float Logprob(double l, double norm) {
  const double value = l - norm;
  return std::isnan(value) ? kNone : static_cast<float>(value);
}

}  // namespace

namespace cpu {

void TopLogprobs(const TopLogprobsArgs& args, Stream& stream) {
  CheckTopLogprobs(args);
  const int64_t vocabulary = args.logits.shape[1], k = args.ids.shape[1];
  Scratch scratch(stream);
  float* l = scratch.Take<float>(vocabulary);
  int32_t* order = scratch.Take<int32_t>(vocabulary);
  for (int64_t t = 0; t < args.logits.shape[0]; ++t) {
    for (int64_t v = 0; v < vocabulary; ++v) {
      const float value = args.logits.row(t)[v];
      l[v] = std::isnan(value) ? kNone : value;
    }
    const double most = *std::max_element(l, l + vocabulary);
    const double norm = most + std::log(ExpSum(l, vocabulary, most));
    const int32_t token = args.token[t];
    KERNEL_CHECK_LE(token, vocabulary - 1);
    args.chosen[t] = token < 0 ? kNone : Logprob(l[token], norm);
    std::iota(order, order + vocabulary, 0);
    std::partial_sort(order, order + k, order + vocabulary,
                      [l](int32_t a, int32_t b) { return l[a] != l[b] ? l[a] > l[b] : a < b; });
    for (int64_t i = 0; i < k; ++i) {
      args.ids.row(t)[i] = order[i];
      args.values.row(t)[i] = Logprob(l[order[i]], norm);
    }
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
