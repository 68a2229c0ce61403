// SPDX-License-Identifier: Apache-2.0
// How the tests of the linear layers judge a product: against sums in double of their own, within
// the bound that the operations' headers derive from fp32 sums.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/gemm/linear_weight.h"
#include "tests/kernels/testing.h"

namespace tandem::kernels {

// y[t,n] = Σ_k x[t,g,k]·W[n,k], g = n / (N / groups).
struct Product {
  const LinearWeight& weight;   // checkpoint bytes on the host
  const std::vector<float>& x;  // [T, groups, K]
  int64_t tokens;
  int64_t groups = 1;
  int64_t rows = 1 << 30;  // of W that are judged, drawn at random; all if there are no more
};

inline double ToDouble(float y) {
  return y;
}
inline double ToDouble(Bf16 y) {
  return ToFloat(y);
}

// `y` is [T, N].
template <typename Output>
void ExpectProduct(const Product& p, const std::vector<Output>& y, Random& random) {
  const int64_t n = p.weight.n, k = p.weight.k;
  constexpr double kRounding = sizeof(Output) == 2 ? 0x1p-8 : 0x1p-24;
  ASSERT_EQ(static_cast<int64_t>(y.size()), p.tokens * n);
  std::vector<float> w(k);
  for (int64_t i = 0; i < std::min(n, p.rows); ++i) {
    const int64_t row = n <= p.rows ? i : random.Below(n);
    ReadWeightRow(p.weight, row, w.data());
    for (int64_t t = 0; t < p.tokens; ++t) {
      const float* x = p.x.data() + (t * p.groups + row / (n / p.groups)) * k;
      double sum = 0, size = 0;
      for (int64_t j = 0; j < k; ++j) {
        const double product = static_cast<double>(x[j]) * w[j];
        sum += product;
        size += std::abs(product);
      }
      const double bound = static_cast<double>(127 + (k + 127) / 128) * 0x1p-24 * size;
      ASSERT_NEAR(ToDouble(y[t * n + row]), sum, bound + (std::abs(sum) + bound) * kRounding)
          << "row " << row << " of " << n << "x" << k << ", token " << t << " of " << p.tokens;
    }
  }
}

}  // namespace tandem::kernels
