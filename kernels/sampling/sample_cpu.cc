// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/sampling/sample.h"

namespace tandem::kernels {
namespace {

int32_t Argmax(const float* logits, int64_t n) {
  int64_t best = 0;
  for (int64_t v = 1; v < n; ++v) {
    if (logits[v] > logits[best] || (std::isnan(logits[best]) && !std::isnan(logits[v]))) best = v;
  }
  return static_cast<int32_t>(best);
}

// e^{(l − most)/temperature}; equals count 1 even where both are infinite.
double Ratio(float l, float most, float temperature) {
  if (l == most) return 1;
  const double ratio = std::exp((static_cast<double>(l) - most) / temperature);
  return std::isnan(ratio) ? 0 : ratio;
}

struct Truncation {
  double* p;       // [n]; zero for the tokens that are dropped
  int32_t* order;  // [n], scratch
  int64_t n;
  int64_t top_k;
  double top_p;
};

// Zeroes all but the top_k largest, then all but the shortest run of these that reaches top_p of
// their sum.
void Truncate(const Truncation& args) {
  double* p = args.p;
  std::iota(args.order, args.order + args.n, 0);
  std::partial_sort(args.order, args.order + args.top_k, args.order + args.n,
                    [p](int32_t a, int32_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; });
  double sum = 0;
  for (int64_t i = 0; i < args.top_k; ++i) sum += p[args.order[i]];
  double reached = 0;
  int64_t kept = 0;
  while (kept < args.top_k && (kept == 0 || reached < args.top_p * sum)) {
    reached += p[args.order[kept++]];
  }
  for (int64_t i = kept; i < args.n; ++i) p[args.order[i]] = 0;
}

int32_t Draw(const double* p, int64_t n, double u, int32_t best) {
  const double goal = u * std::accumulate(p, p + n, 0.0);
  double running = 0;
  int64_t last = best;
  for (int64_t v = 0; v < n; ++v) {
    if (p[v] <= 0) continue;
    running += p[v];
    last = v;
    if (running > goal) break;
  }
  return static_cast<int32_t>(last);
}

}  // namespace

namespace cpu {

void Sample(const SampleArgs& args, Stream& stream) {
  CheckSample(args);
  const int64_t vocabulary = args.logits.shape[1];
  Scratch scratch(stream);
  double* p = scratch.Take<double>(vocabulary);
  int32_t* order = scratch.Take<int32_t>(vocabulary);
  for (int64_t t = 0; t < args.logits.shape[0]; ++t) {
    const float* logits = args.logits.row(t);
    const int32_t best = Argmax(logits, vocabulary);
    if (args.temperature[t] <= 0) {
      args.token[t] = best;
      continue;
    }
    for (int64_t v = 0; v < vocabulary; ++v) {
      const double ratio = Ratio(logits[v], logits[best], args.temperature[t]);
      p[v] = ratio >= args.min_p[t] ? ratio : 0;
    }
    if (std::isnan(logits[best])) p[best] = 1;  // a row of nothing but NaN
    const bool top_k = args.top_k[t] > 0 && args.top_k[t] < vocabulary;
    if (top_k || args.top_p[t] < 1) {
      Truncate({.p = p,
                .order = order,
                .n = vocabulary,
                .top_k = top_k ? args.top_k[t] : vocabulary,
                .top_p = args.top_p[t]});
    }
    args.token[t] = Draw(p, vocabulary, args.u[t], best);
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
