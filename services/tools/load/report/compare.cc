// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/report/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/tools/load/report/estimate.h"
#include "services/tools/load/report/result_text.h"
#include "services/tools/text/number_text.h"

namespace tandem {
namespace {

// More is better of rates, less is better of times and errors.
enum class Better : uint8_t { kMore, kLess };

struct Metric {
  std::string name;
  std::string unit;
  Better better = Better::kLess;
  bool is_share = false;
  double threshold = 0;
};

bool LeavesOutZero(const MetricChange& change) {
  return change.low && change.high && (*change.low > 0 || *change.high < 0);
}

Verdict VerdictOf(const MetricChange& change, const Metric& metric) {
  if (change.change == 0 || std::abs(change.change) <= metric.threshold) return Verdict::kSame;
  if (!LeavesOutZero(change)) return Verdict::kNoise;
  const bool rose = change.change > 0;
  return rose == (metric.better == Better::kMore) ? Verdict::kBetter : Verdict::kWorse;
}

MetricChange ChangeOf(const Metric& metric, const Estimate& a, const Estimate& b) {
  const Estimate difference = DifferenceOf(a, b);
  // From nothing to something is no percentage: it is beyond every threshold.
  const double scale = metric.is_share ? 1
                       : a.value > 0   ? 1 / a.value
                                       : std::numeric_limits<double>::infinity();
  MetricChange out = {.name = metric.name,
                      .unit = metric.unit,
                      .a = a.value,
                      .b = b.value,
                      .change = difference.value == 0 ? 0 : difference.value * scale,
                      .is_share = metric.is_share,
                      .low = std::nullopt,
                      .high = std::nullopt,
                      .verdict = Verdict::kSame};
  if (difference.interval) {
    out.low = difference.interval->low == 0 ? 0 : difference.interval->low * scale;
    out.high = difference.interval->high == 0 ? 0 : difference.interval->high * scale;
  }
  out.verdict = VerdictOf(out, metric);
  return out;
}

class Comparer {
 public:
  Comparer(const LoadResult& a, const LoadResult& b, double threshold)
      : a_(a), b_(b), rates_a_(ThroughputOf(a)), rates_b_(ThroughputOf(b)), threshold_(threshold) {}

  void Rate(absl::string_view name, double Throughput::*rate, uint64_t TimelinePoint::*count) {
    changes_.push_back(ChangeOf(
        {.name = std::string(name), .unit = "/s", .better = Better::kMore, .threshold = threshold_},
        RateOf(a_, rates_a_.*rate, count), RateOf(b_, rates_b_.*rate, count)));
  }

  void Share(const Metric& metric, uint64_t Counts::*hits) {
    const auto share = [hits](const LoadResult& run) {
      return ShareOf(run.counts.*hits, run.counts.completed + run.counts.failed);
    };
    changes_.push_back(ChangeOf(metric, share(a_), share(b_)));
  }

  void Latency(const LatencyField& field) {
    const auto add = [&](absl::string_view stat, auto estimate) {
      changes_.push_back(ChangeOf({.name = absl::StrCat(field.text, " ", stat),
                                   .unit = "ms",
                                   .better = Better::kLess,
                                   .threshold = threshold_},
                                  estimate(a_), estimate(b_)));
    };
    const auto quantile = [&field](double q) {
      return [&field, q](const LoadResult& run) {
        return QuantileOf(run.latencies.*field.histogram, q, run.counts.completed);
      };
    };
    add("mean", [&field](const LoadResult& run) {
      return MeanOf(run.latencies.*field.histogram, run.counts.completed);
    });
    add("p50", quantile(0.5));
    add("p90", quantile(0.9));
    add("p99", quantile(0.99));
  }

  double threshold() const { return threshold_; }
  std::vector<MetricChange> Take() { return std::move(changes_); }

 private:
  const LoadResult& a_;
  const LoadResult& b_;
  const Throughput rates_a_;
  const Throughput rates_b_;
  const double threshold_;
  std::vector<MetricChange> changes_;
};

std::vector<std::string> NotesOf(const LoadResult& a, const LoadResult& b) {
  std::vector<std::string> notes;
  const auto add = [&notes](const std::string& name, const std::string& from,
                            const std::string& to) {
    if (from != to) notes.push_back(absl::StrCat("differs: ", name, ": ", from, " → ", to));
  };
  add("model", a.model, b.model);
  // Where a result was written changes nothing in it.
  const auto told = [&add](const std::string& name, const std::string& from,
                           const std::string& to) {
    if (name != "json" && name != "csv" && name != "html" && name != "quiet") add(name, from, to);
  };
  for (const auto& [name, value] : a.options) {
    const auto other = b.options.find(name);
    told(name, value, other == b.options.end() ? "–" : other->second);
  }
  for (const auto& [name, value] : b.options) {
    if (a.options.find(name) == a.options.end()) told(name, "–", value);
  }
  for (const auto& [name, run] : {std::pair("A", &a), std::pair("B", &b)}) {
    for (const std::string& warning : ClientWarnings(*run)) {
      notes.push_back(absl::StrCat(name, ": ", warning));
    }
    if (HasFailedChecks(*run)) notes.push_back(absl::StrCat(name, " has failed checks"));
  }
  return notes;
}

// Each time once: the others are sums or other countings of these.
bool Tells(const LatencyField& field) {
  return field.histogram != &Latencies::accept && field.histogram != &Latencies::tpot_e2e &&
         field.histogram != &Latencies::chunk_gap;
}

absl::string_view TextOf(Verdict verdict) {
  switch (verdict) {
    case Verdict::kBetter:
      return "better";
    case Verdict::kWorse:
      return "WORSE";
    case Verdict::kNoise:
      return "noise";
    case Verdict::kSame:
      break;
  }
  return "same";
}

std::string Signed(double share, bool is_share) {
  if (!std::isfinite(share)) return share > 0 ? "new" : "gone";
  return absl::StrFormat("%+.1f %s", share * 100, is_share ? "pp" : "%");
}

std::string ValueText(double value, const MetricChange& change) {
  return change.is_share ? PercentText(value) : NumberText(value);
}

}  // namespace

Comparison Compare(const LoadResult& a, const LoadResult& b, double threshold) {
  Comparer comparer(a, b, threshold);
  comparer.Rate("requests", &Throughput::requests, &TimelinePoint::finished);
  comparer.Rate("output tokens", &Throughput::tokens, &TimelinePoint::tokens);
  if (a.slo.Any() && b.slo.Any()) {
    comparer.Share({.name = "inside the SLO",
                    .unit = "",
                    .better = Better::kMore,
                    .is_share = true,
                    .threshold = threshold},
                   &Counts::good);
  }
  comparer.Share({.name = "errors", .unit = "", .better = Better::kLess, .is_share = true},
                 &Counts::failed);
  for (const LatencyField& field : ClientLatencies()) {
    if (Tells(field) && Applies(a, field) && Applies(b, field)) comparer.Latency(field);
  }
  return {.label = b.label, .changes = comparer.Take(), .notes = NotesOf(a, b)};
}

absl::StatusOr<std::vector<Comparison>> CompareRuns(absl::Span<const LoadResult> a,
                                                    absl::Span<const LoadResult> b,
                                                    double threshold) {
  if (a.size() != b.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("A holds ", a.size(), " runs and B ", b.size(), ": nothing to pair them by"));
  }
  std::vector<Comparison> out;
  for (size_t i = 0; i < a.size(); ++i) out.push_back(Compare(a[i], b[i], threshold));
  return out;
}

bool AnyWorse(absl::Span<const Comparison> comparisons) {
  return std::any_of(comparisons.begin(), comparisons.end(), [](const Comparison& comparison) {
    return std::any_of(comparison.changes.begin(), comparison.changes.end(),
                       [](const MetricChange& c) { return c.verdict == Verdict::kWorse; });
  });
}

std::string ComparisonText(const Comparison& comparison) {
  std::string out = absl::StrFormat("%-26s %10s %10s %10s   %-20s %s\n", comparison.label, "A", "B",
                                    "change", "99.9 % interval", "");
  for (const MetricChange& change : comparison.changes) {
    const std::string interval = change.low
                                     ? absl::StrCat(Signed(*change.low, change.is_share), " … ",
                                                    Signed(*change.high, change.is_share))
                                     : "too few samples";
    // "…" takes three bytes and one column.
    const int width = change.low ? 24 : 22;
    absl::StrAppendFormat(&out, "%-26s %10s %10s %10s   %-*s %s\n",
                          absl::StrCat(change.name, change.unit.empty() ? "" : " ", change.unit),
                          ValueText(change.a, change), ValueText(change.b, change),
                          Signed(change.change, change.is_share), width, interval,
                          TextOf(change.verdict));
  }
  for (const std::string& note : comparison.notes) absl::StrAppend(&out, "note: ", note, "\n");
  return out;
}

}  // namespace tandem
