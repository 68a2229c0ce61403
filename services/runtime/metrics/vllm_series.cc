// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/metrics/vllm_series.h"

namespace tandem::series::vllm {

std::vector<double> TokenCountBounds(double tokens_max) {
  std::vector<double> bounds;
  for (double decade = 1;; decade *= 10) {
    for (const double step : {1, 2, 5}) {
      if (step * decade > tokens_max) return bounds;
      bounds.push_back(step * decade);
    }
  }
}

}  // namespace tandem::series::vllm
