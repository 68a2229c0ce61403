// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/result/load_result.h"

namespace tandem {
namespace {

template <int kPerMille>
double QuantileMs(const LatencyHistogram& histogram) {
  return absl::ToDoubleMilliseconds(histogram.Quantile(kPerMille / 1000.0));
}

}  // namespace

absl::Span<const LatencyStat> LatencyStats() {
  using Histogram = LatencyHistogram;
  static constexpr LatencyStat kStats[] = {
      {"mean", [](const Histogram& h) { return absl::ToDoubleMilliseconds(h.Mean()); }},
      {"stddev", [](const Histogram& h) { return absl::ToDoubleMilliseconds(h.StdDev()); }},
      {"min", QuantileMs<0>},
      {"p50", QuantileMs<500>},
      {"p90", QuantileMs<900>},
      {"p95", QuantileMs<950>},
      {"p99", QuantileMs<990>},
      {"p99.9", QuantileMs<999>},
      {"max", QuantileMs<1000>},
  };
  return kStats;
}

absl::Span<const LatencyField> ClientLatencies() {
  static constexpr LatencyField kFields[] = {
      {"accept", "accepted", &Latencies::accept},
      {"ttft", "TTFT", &Latencies::ttft},
      {"ttft_corrected", "TTFT from schedule", &Latencies::ttft_corrected},
      {"tpot", "TPOT", &Latencies::tpot},
      {"tpot_e2e", "TPOT, e2e / tokens", &Latencies::tpot_e2e},
      {"token_gap", "token gap", &Latencies::token_gap},
      {"chunk_gap", "chunk gap", &Latencies::chunk_gap},
      {"e2e", "e2e", &Latencies::e2e},
      {"e2e_corrected", "e2e from schedule", &Latencies::e2e_corrected},
  };
  return kFields;
}

absl::Span<const LatencyField> StageLatencies() {
  static constexpr LatencyField kFields[] = {
      {"tokenize", "tokenise", &Latencies::tokenize},
      {"reserve", "reserve", &Latencies::reserve},
      {"prefill_queue", "prefill queue", &Latencies::prefill_queue},
      {"prefill", "prefill", &Latencies::prefill},
      {"kv_transfer", "KV transfer", &Latencies::kv_transfer},
      {"decode", "decode", &Latencies::decode},
  };
  return kFields;
}

absl::Span<const LatencyField> ServerLatencies() {
  static constexpr LatencyField kFields[] = {
      {"server_ttft", "TTFT by the server", &Latencies::server_ttft},
      {"server_total", "e2e by the server", &Latencies::server_total},
  };
  return kFields;
}

Throughput ThroughputOf(const LoadResult& result) {
  Throughput out;
  const Counts& counts = result.counts;
  const auto measured = static_cast<double>(counts.completed + counts.failed);
  if (measured > 0) {
    out.good_share = static_cast<double>(counts.good) / measured;
    out.error_share = static_cast<double>(counts.failed) / measured;
  }
  const double seconds = absl::ToDoubleSeconds(result.duration);
  if (seconds <= 0) return out;
  out.requests = static_cast<double>(counts.completed) / seconds;
  out.prompt_tokens = static_cast<double>(counts.prompt_tokens) / seconds;
  out.tokens = static_cast<double>(counts.tokens) / seconds;
  out.total_tokens = out.prompt_tokens + out.tokens;
  out.goodput = static_cast<double>(counts.good) / seconds;
  return out;
}

bool Applies(const LoadResult& result, const LatencyField& field) {
  const bool corrected =
      field.histogram == &Latencies::ttft_corrected || field.histogram == &Latencies::e2e_corrected;
  return !corrected || !result.concurrency.has_value();
}

bool HasFailedChecks(const LoadResult& result) {
  for (const KindCount& kind : result.counts.kinds) {
    if (kind.checks_failed > 0) return true;
  }
  return !result.problems.empty();
}

absl::string_view NameOf(RequestKind kind) {
  static constexpr std::array<absl::string_view, kRequestKinds> kNames = {
      "normal", "golden",    "sentinel",        "cancel",
      "vanish", "slow_read", "absurd_deadline", "duplicate_id"};
  return kNames[static_cast<size_t>(kind)];
}

}  // namespace tandem
