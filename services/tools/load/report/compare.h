// SPDX-License-Identifier: Apache-2.0
// Whether run B is worse than run A, and whether that is more than noise.
//
// Every metric gets a 99.9 % interval from what the two files hold: order statistics for quantiles,
// the deviation for means, batches of the timeline for rates, Wilson's for shares. There are nearly
// thirty metrics, and no run is to fail by chance. Tokens of one answer go together, so gaps count
// as many samples as there are requests. The interval of a difference is put together from both
// (MOVER). A metric is worse when the change is beyond the threshold and its interval leaves out
// zero; beyond the threshold but not so, it is noise. The share of errors has no threshold: any
// rise that is no noise is worse. Pure functions; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "services/tools/load/result/load_result.h"

namespace tandem {

enum class Verdict : uint8_t { kSame, kBetter, kWorse, kNoise };

struct MetricChange {
  std::string name;  // "TTFT p99"
  std::string unit;  // "ms"
  double a = 0;
  double b = 0;
  double change = 0;  // of a share: the difference; else relative to A
  bool is_share = false;
  // The 99.9 % interval of `change`; absent when there are too few samples for one.
  std::optional<double> low;
  std::optional<double> high;
  Verdict verdict = Verdict::kSame;
};

struct Comparison {
  std::string label;
  std::vector<MetricChange> changes;
  // Options that differ, "rate: 10 → 20", and warnings.
  std::vector<std::string> notes;
};

// `threshold` is a share: 0.05.
Comparison Compare(const LoadResult& a, const LoadResult& b, double threshold);

// Run by run. INVALID_ARGUMENT when the two hold different numbers of runs.
absl::StatusOr<std::vector<Comparison>> CompareRuns(absl::Span<const LoadResult> a,
                                                    absl::Span<const LoadResult> b,
                                                    double threshold);

bool AnyWorse(absl::Span<const Comparison> comparisons);

std::string ComparisonText(const Comparison& comparison);

}  // namespace tandem
