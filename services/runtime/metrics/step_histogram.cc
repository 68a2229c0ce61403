// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/metrics/step_histogram.h"

#include <algorithm>

namespace tandem {

StepHistogram::StepHistogram(const std::vector<Sink>& sinks) {
  for (const Sink& sink : sinks) {
    if (sink.histogram == nullptr) continue;
    gathered_.push_back({.sink = sink, .counts = std::vector<double>(sink.bounds.size() + 1)});
  }
}

void StepHistogram::Add(double value) {
  for (Gathered& each : gathered_) {
    const std::span<const double> bounds = each.sink.bounds;
    ++each.counts[std::lower_bound(bounds.begin(), bounds.end(), value) - bounds.begin()];
  }
  sum_ += value;
  empty_ = false;
}

void StepHistogram::Flush() {
  if (empty_) return;
  for (Gathered& each : gathered_) {
    each.sink.histogram->ObserveMultiple(each.counts, sum_);
    std::fill(each.counts.begin(), each.counts.end(), 0);
  }
  sum_ = 0;
  empty_ = true;
}

}  // namespace tandem
