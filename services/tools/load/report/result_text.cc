// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/report/result_text.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "services/tools/text/number_text.h"

namespace tandem {
namespace {

constexpr absl::Duration kSendLagWorthALine = absl::Milliseconds(10);  // at p99
constexpr double kCpuWorthALine = 0.9;  // of the cores that the environment names

void AddLatencyRow(absl::string_view name, const LatencyHistogram& histogram, std::string& out) {
  if (histogram.empty()) return;
  absl::StrAppendFormat(&out, "  %-22s", name);
  for (const LatencyStat& stat : LatencyStats()) {
    if (stat.name == "min") continue;
    absl::StrAppendFormat(&out, " %8s", NumberText(stat.milliseconds(histogram)));
  }
  absl::StrAppend(&out, "\n");
}

void AddLatencyTable(const LoadResult& result, std::string& out) {
  absl::StrAppendFormat(&out, "\n  %-22s", "ms");
  for (const LatencyStat& stat : LatencyStats()) {
    if (stat.name != "min") absl::StrAppendFormat(&out, " %8s", stat.name);
  }
  absl::StrAppend(&out, "\n");
  for (const LatencyField& field : ClientLatencies()) {
    if (!Applies(result, field)) continue;
    AddLatencyRow(field.text, result.latencies.*field.histogram, out);
  }
  for (const LatencyField& field : StageLatencies()) {
    AddLatencyRow(absl::StrCat("· ", field.text), result.latencies.*field.histogram, out);
  }
}

void AddRates(const LoadResult& result, std::string& out) {
  const Throughput rates = ThroughputOf(result);
  const Counts& counts = result.counts;
  absl::StrAppendFormat(&out, "  requests  %s/s: %s completed, %s failed (%s), %s warm-up\n",
                        NumberText(rates.requests), CountText(counts.completed),
                        CountText(counts.failed), PercentText(rates.error_share),
                        CountText(counts.warm_up));
  absl::StrAppendFormat(&out, "  tokens    %s/s out (peak second %s), %s/s in, %s/s together\n",
                        NumberText(rates.tokens), CountText(result.tokens_per_second_max),
                        NumberText(rates.prompt_tokens), NumberText(rates.total_tokens));
  absl::StrAppendFormat(&out,
                        "  totals    %s tokens out of %s wanted, %s in, %s lost to failures\n",
                        CountText(counts.tokens), CountText(counts.tokens_wanted),
                        CountText(counts.prompt_tokens), CountText(counts.tokens_lost));
  absl::StrAppendFormat(&out, "  running   at most %s at once\n",
                        CountText(result.concurrency_max));
  if (result.slo.Any()) {
    absl::StrAppendFormat(&out, "  goodput   %s/s, %s of requests inside %s\n",
                          NumberText(rates.goodput), PercentText(rates.good_share),
                          SloText(result.slo));
  }
}

void AddKinds(const LoadResult& result, std::string& out) {
  uint64_t checks = 0;
  uint64_t failed = 0;
  std::vector<std::string> nasty;
  for (int i = 0; i < kRequestKinds; ++i) {
    const auto kind = static_cast<RequestKind>(i);
    const KindCount& count = result.counts.kinds[static_cast<size_t>(i)];
    checks += count.checks;
    failed += count.checks_failed;
    if (IsNasty(kind) && count.requests > 0) {
      nasty.push_back(absl::StrCat(NameOf(kind), " ", CountText(count.requests)));
    }
  }
  absl::StrAppendFormat(&out, "  checks    %s made, %s failed\n", CountText(checks),
                        CountText(failed));
  for (const NameCount& row : result.failed_checks) {
    absl::StrAppendFormat(&out, "    FAILED  %s: %s\n", row.name, CountText(row.count));
  }
  for (const std::string& problem : result.problems) {
    absl::StrAppendFormat(&out, "    FAILED  %s\n", problem);
  }
  if (!nasty.empty()) absl::StrAppendFormat(&out, "  nasty     %s\n", absl::StrJoin(nasty, ", "));
}

std::string LoadText(const LoadResult& result) {
  if (result.rate_offered) return absl::StrCat("rate ", NumberText(*result.rate_offered));
  if (result.concurrency) return absl::StrCat("concurrency ", *result.concurrency);
  return result.label;
}

}  // namespace

std::string SloText(const Slo& slo) {
  std::vector<std::string> limits;
  const auto add = [&limits](absl::string_view name, const std::optional<absl::Duration>& limit) {
    if (limit) limits.push_back(absl::StrCat(name, " ", DurationText(*limit)));
  };
  add("ttft", slo.ttft);
  add("tpot", slo.tpot);
  add("e2e", slo.e2e);
  return absl::StrJoin(limits, ", ");
}

std::vector<std::string> ClientWarnings(const LoadResult& result) {
  std::vector<std::string> warnings;
  const absl::Duration lag = result.client.send_lag.Quantile(0.99);
  if (lag > kSendLagWorthALine) {
    warnings.push_back(absl::StrCat("requests left up to ", DurationText(lag),
                                    " late (p99): the client had no time"));
  }
  const auto cores = result.environment.find("cores");
  double count = 0;
  if (cores != result.environment.end() && absl::SimpleAtod(cores->second, &count) && count > 0 &&
      result.client.cpu_cores > kCpuWorthALine * count) {
    warnings.push_back(absl::StrCat("the client used ", NumberText(result.client.cpu_cores), " of ",
                                    cores->second, " cores"));
  }
  return warnings;
}

std::string ResultText(const LoadResult& result) {
  std::string out =
      absl::StrFormat("\n%s%s%s: %s measured\n", result.label, result.model.empty() ? "" : " on ",
                      result.model, DurationText(result.duration));
  AddRates(result, out);
  AddKinds(result, out);
  absl::StrAppendFormat(
      &out, "  client    %s cores, %s at most, send lag p50 %s p99 %s max %s ms\n",
      NumberText(result.client.cpu_cores), BytesText(result.client.rss_bytes_max),
      MsText(result.client.send_lag.Quantile(0.5)), MsText(result.client.send_lag.Quantile(0.99)),
      MsText(result.client.send_lag.Max()));
  for (const std::string& warning : ClientWarnings(result)) {
    absl::StrAppendFormat(&out, "    WARNING %s\n", warning);
  }
  for (const ErrorCount& row : result.errors) {
    absl::StrAppendFormat(&out, "  error     %s %s: %s\n", row.code, row.reason,
                          CountText(row.count));
  }
  AddLatencyTable(result, out);
  return out;
}

std::string SweepText(absl::Span<const LoadResult> runs) {
  std::string out = absl::StrFormat("\n%-20s %9s %9s %9s %9s %9s %9s %9s %8s %8s\n", "times in ms",
                                    "req/s", "tok/s", "TTFT p50", "TTFT p99", "TPOT p50",
                                    "TPOT p99", "e2e p99", "good", "errors");
  for (const LoadResult& run : runs) {
    const Throughput rates = ThroughputOf(run);
    const Latencies& times = run.latencies;
    absl::StrAppendFormat(
        &out, "%-20s %9s %9s %9s %9s %9s %9s %9s %8s %8s\n", LoadText(run),
        NumberText(rates.requests), NumberText(rates.tokens),
        MsText(times.ttft_corrected.Quantile(0.5)), MsText(times.ttft_corrected.Quantile(0.99)),
        MsText(times.tpot.Quantile(0.5)), MsText(times.tpot.Quantile(0.99)),
        MsText(times.e2e_corrected.Quantile(0.99)),
        run.slo.Any() ? PercentText(rates.good_share) : "-", PercentText(rates.error_share));
  }
  return out;
}

}  // namespace tandem
