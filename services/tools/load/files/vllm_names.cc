// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/files/vllm_names.h"

#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tandem {
namespace {

// Our statistic under its name, "" where it has none.
absl::string_view NameOfStat(absl::string_view stat) {
  if (stat == "stddev") return "std";
  if (stat == "min" || stat == "max") return "";
  return stat;
}

// 1 = Poisson, as there; what is not drawn has none.
std::optional<double> BurstinessOf(const LoadResult& result) {
  const auto option = [&result](const char* name) {
    const auto it = result.options.find(name);
    return it == result.options.end() ? std::string() : it->second;
  };
  double value = 1;
  if (absl::SimpleAtod(option("burstiness"), &value) || option("arrival") == "gamma" ||
      option("arrival") == "poisson") {
    return value;
  }
  return std::nullopt;
}

}  // namespace

void AddVllmNames(const LoadResult& result, nlohmann::ordered_json& out) {
  const Throughput rates = ThroughputOf(result);
  const Counts& counts = result.counts;
  out["date"] = absl::FormatTime("%Y%m%d-%H%M%S", result.started, absl::UTCTimeZone());
  out["backend"] = "tandem";
  out["endpoint_type"] = "tandem";
  out["model_id"] = result.model;
  out["tokenizer_id"] = result.model;
  out["num_prompts"] = counts.completed + counts.failed;
  if (result.rate_offered) {
    out["request_rate"] = *result.rate_offered;
  } else {
    out["request_rate"] = "inf";
  }
  if (const auto burstiness = BurstinessOf(result)) {
    out["burstiness"] = *burstiness;
  } else {
    out["burstiness"] = nullptr;
  }
  if (result.concurrency) {
    out["max_concurrency"] = *result.concurrency;
  } else {
    out["max_concurrency"] = nullptr;
  }
  out["duration"] = absl::ToDoubleSeconds(result.duration);
  out["completed"] = counts.completed;
  out["failed"] = counts.failed;
  out["total_input_tokens"] = counts.prompt_tokens;
  out["total_output_tokens"] = counts.tokens;
  out["request_throughput"] = rates.requests;
  if (result.slo.Any()) {
    out["request_goodput"] = rates.goodput;
  } else {
    out["request_goodput"] = nullptr;
  }
  out["output_throughput"] = rates.tokens;
  out["total_token_throughput"] = rates.total_tokens;
  out["max_output_tokens_per_s"] = result.tokens_per_second_max;
  out["max_concurrent_requests"] = result.concurrency_max;
  const struct {
    absl::string_view name;
    const LatencyHistogram& histogram;
  } kinds[] = {{"ttft", result.latencies.ttft},
               {"tpot", result.latencies.tpot},
               {"itl", result.latencies.chunk_gap},
               {"e2el", result.latencies.e2e}};
  for (const auto& kind : kinds) {
    out[absl::StrCat("median_", kind.name, "_ms")] =
        absl::ToDoubleMilliseconds(kind.histogram.Quantile(0.5));
    for (const LatencyStat& stat : LatencyStats()) {
      const absl::string_view name = NameOfStat(stat.name);
      if (name.empty()) continue;
      out[absl::StrCat(name, "_", kind.name, "_ms")] = stat.milliseconds(kind.histogram);
    }
  }
}

}  // namespace tandem
