// SPDX-License-Identifier: Apache-2.0
// StepHistogram: a histogram and its alias for what comes once a token: values are gathered over an
// engine step and observed together at its end, under one lock for each series. Add and Flush
// belong to one thread; a scrape may come at any time. Borrows the histograms and bounds.
#pragma once

#include <span>
#include <vector>

#include "prometheus/histogram.h"

namespace tandem {

class StepHistogram {
 public:
  struct Sink {
    prometheus::Histogram* histogram = nullptr;  // null: this process does not show it
    std::span<const double> bounds;              // the histogram's own, rising
  };
  explicit StepHistogram(const std::vector<Sink>& sinks);

  void Add(double value);
  void Flush();

 private:
  struct Gathered {
    Sink sink;
    std::vector<double> counts;  // by bucket, +Inf last
  };
  std::vector<Gathered> gathered_;
  double sum_ = 0;
  bool empty_ = true;
};

}  // namespace tandem
