// SPDX-License-Identifier: Apache-2.0
// Prometheus' text format, read strictly: what `promtool check metrics` would refuse is a fault
// here. A family has its HELP and TYPE first and stands in one piece, no series twice, labels
// well-formed, counters end in _total and are not negative, a histogram's buckets rise to +Inf =
// _count.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem {

using MetricLabels = std::map<std::string, std::string>;

struct MetricSample {
  std::string name;  // with _bucket, _sum, _count
  MetricLabels labels;
  double value = 0;
};

struct Exposition {
  std::map<std::string, std::string> types;  // by family
  std::vector<MetricSample> samples;
  std::vector<std::string> faults;

  // Sum of the samples that carry all of `labels`.
  double Sum(const std::string& name, const MetricLabels& labels = {}) const;
  // Is there such a sample?
  bool Has(const std::string& name, const MetricLabels& labels = {}) const;
};

Exposition ParseExposition(const std::string& text);

// GET http://endpoint/metrics, read; UNAVAILABLE if it is not 200.
absl::StatusOr<Exposition> ScrapeMetrics(const std::string& endpoint);

}  // namespace tandem
