// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/modes/one_line.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tandem {
namespace {

double Ms(absl::Duration duration) {
  return absl::ToDoubleMilliseconds(duration);
}

std::string HalfAndMost(const char* name, const LatencyHistogram& histogram) {
  if (histogram.empty()) return "";
  return absl::StrFormat(", %s p50 %.1f p99 %.1f ms", name, Ms(histogram.Quantile(0.5)),
                         Ms(histogram.Quantile(0.99)));
}

std::string Errors(const std::vector<ErrorCount>& errors) {
  std::string out;
  for (const ErrorCount& error : errors) {
    absl::StrAppend(&out, ", ", error.count, " ", error.code,
                    error.reason.empty() ? "" : absl::StrCat(" (", error.reason, ")"));
  }
  return out;
}

}  // namespace

std::string OneLine(const LoadResult& result) {
  const Throughput throughput = ThroughputOf(result);
  std::string out =
      absl::StrFormat("%s: %d completed, %.2f requests/s, %.1f tokens/s", result.label,
                      result.counts.completed, throughput.requests, throughput.tokens);
  absl::StrAppend(&out, HalfAndMost("TTFT", result.latencies.ttft_corrected),
                  HalfAndMost("TPOT", result.latencies.tpot));
  if (result.slo.Any()) absl::StrAppendFormat(&out, ", good %.1f%%", 100 * throughput.good_share);
  absl::StrAppend(&out, Errors(result.errors));
  uint64_t failed = 0;
  for (const NameCount& check : result.failed_checks) failed += check.count;
  if (failed > 0) absl::StrAppend(&out, ", ", failed, " failed checks");
  return out;
}

std::string OneLine(const LoadSnapshot& snapshot) {
  std::string out = absl::StrFormat("%.0f s: %d sent, %d running, %d completed, %d tokens",
                                    absl::ToDoubleSeconds(snapshot.at), snapshot.sent,
                                    snapshot.running, snapshot.completed, snapshot.tokens);
  absl::StrAppend(&out, HalfAndMost("TTFT", snapshot.ttft), HalfAndMost("TPOT", snapshot.tpot),
                  Errors(snapshot.errors));
  if (snapshot.failed_checks > 0) {
    absl::StrAppend(&out, ", ", snapshot.failed_checks, " failed checks");
  }
  return out;
}

}  // namespace tandem
