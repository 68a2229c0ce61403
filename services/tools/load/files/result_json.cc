// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/files/result_json.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/json.h"
#include "services/runtime/base/status_macros.h"
#include "services/tools/load/files/json_fields.h"
#include "services/tools/load/files/vllm_names.h"
#include "services/tools/read_file.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

// One table for both directions, so that neither can forget a count.
struct CountField {
  absl::string_view name;
  uint64_t Counts::*count;
};
constexpr CountField kCountFields[] = {{"completed", &Counts::completed},
                                       {"failed", &Counts::failed},
                                       {"good", &Counts::good},
                                       {"warm_up", &Counts::warm_up},
                                       {"prompt_tokens", &Counts::prompt_tokens},
                                       {"tokens", &Counts::tokens},
                                       {"tokens_lost", &Counts::tokens_lost},
                                       {"tokens_wanted", &Counts::tokens_wanted}};

struct KindField {
  absl::string_view name;
  uint64_t KindCount::*count;
};
constexpr KindField kKindFields[] = {{"requests", &KindCount::requests},
                                     {"completed", &KindCount::completed},
                                     {"checks", &KindCount::checks},
                                     {"checks_failed", &KindCount::checks_failed}};

struct PointField {
  absl::string_view name;
  uint64_t TimelinePoint::*count;
};
constexpr PointField kPointFields[] = {{"sent", &TimelinePoint::sent},
                                       {"finished", &TimelinePoint::finished},
                                       {"errors", &TimelinePoint::errors},
                                       {"tokens", &TimelinePoint::tokens},
                                       {"running", &TimelinePoint::running}};

struct PointTime {
  absl::string_view name;
  std::optional<absl::Duration> TimelinePoint::*time;
};
constexpr PointTime kPointTimes[] = {{"ttft_p50_ms", &TimelinePoint::ttft_p50},
                                     {"ttft_p99_ms", &TimelinePoint::ttft_p99},
                                     {"gap_p50_ms", &TimelinePoint::gap_p50}};

struct SloField {
  absl::string_view name;
  std::optional<absl::Duration> Slo::*limit;
};
constexpr SloField kSloFields[] = {{"ttft", &Slo::ttft}, {"tpot", &Slo::tpot}, {"e2e", &Slo::e2e}};

template <typename Number>
Json OrNull(const std::optional<Number>& value) {
  return value ? Json(*value) : Json();
}

Json MsOrNull(const std::optional<absl::Duration>& value) {
  return value ? Json(absl::ToDoubleMilliseconds(*value)) : Json();
}

std::optional<absl::Duration> FromMs(const std::optional<double>& value) {
  if (!value) return std::nullopt;
  return absl::Microseconds(std::round(*value * 1e3));
}

Json HistogramJson(const LatencyHistogram& histogram) {
  const LatencyHistogram::Contents contents = histogram.ToContents();
  Json buckets = Json::array();
  for (const LatencyHistogram::Bucket& bucket : contents.buckets) {
    buckets.push_back(bucket.lowest_us);
    buckets.push_back(bucket.count);
  }
  return {{"sum_us", contents.sum_us},
          {"squares_us2", contents.squares_us2},
          {"min_us", contents.min_us},
          {"max_us", contents.max_us},
          {"buckets", std::move(buckets)}};
}

LatencyHistogram HistogramFrom(JsonFields fields) {
  LatencyHistogram::Contents contents = {.sum_us = static_cast<int64_t>(fields.Count("sum_us")),
                                         .squares_us2 = fields.Number("squares_us2"),
                                         .min_us = static_cast<int64_t>(fields.Count("min_us")),
                                         .max_us = static_cast<int64_t>(fields.Count("max_us")),
                                         .buckets = {}};
  const std::vector<uint64_t> pairs = fields.Counts("buckets");
  if (pairs.size() % 2 != 0) fields.Fault("buckets", "needs pairs of lowest_us and count");
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    contents.buckets.push_back(
        {.lowest_us = static_cast<int64_t>(pairs[i]), .count = pairs[i + 1]});
  }
  auto histogram = LatencyHistogram::FromContents(contents);
  if (histogram.ok()) return *std::move(histogram);
  fields.Fault("", histogram.status().message());
  return LatencyHistogram();
}

Json StatsJson(const LatencyHistogram& histogram) {
  Json out = {{"count", histogram.count()}};
  for (const LatencyStat& stat : LatencyStats()) {
    out[std::string(stat.name)] = stat.milliseconds(histogram);
  }
  return out;
}

template <typename OnField>
void EachLatency(OnField on_field) {
  for (const auto& group : {ClientLatencies(), StageLatencies(), ServerLatencies()}) {
    for (const LatencyField& field : group) on_field(field);
  }
}

Json NamesJson(const std::vector<NameCount>& rows) {
  Json out = Json::array();
  for (const NameCount& row : rows) out.push_back({{"name", row.name}, {"count", row.count}});
  return out;
}

Json TimelineJson(const LoadResult& result) {
  Json out = {{"step_s", absl::ToDoubleSeconds(result.timeline_step)}};
  for (const PointField& field : kPointFields) {
    Json& column = out[std::string(field.name)] = Json::array();
    for (const TimelinePoint& point : result.timeline) column.push_back(point.*field.count);
  }
  for (const PointTime& field : kPointTimes) {
    Json& column = out[std::string(field.name)] = Json::array();
    for (const TimelinePoint& point : result.timeline)
      column.push_back(MsOrNull(point.*field.time));
  }
  return out;
}

Json CountsJson(const Counts& counts) {
  Json out;
  for (const CountField& field : kCountFields) out[std::string(field.name)] = counts.*field.count;
  Json& kinds = out["kinds"];
  for (int i = 0; i < kRequestKinds; ++i) {
    Json& kind = kinds[std::string(NameOf(static_cast<RequestKind>(i)))];
    for (const KindField& field : kKindFields) {
      kind[std::string(field.name)] = counts.kinds[static_cast<size_t>(i)].*field.count;
    }
  }
  return out;
}

Json ThroughputJson(const LoadResult& result) {
  const Throughput rates = ThroughputOf(result);
  return {{"requests_per_s", rates.requests},
          {"prompt_tokens_per_s", rates.prompt_tokens},
          {"tokens_per_s", rates.tokens},
          {"total_tokens_per_s", rates.total_tokens},
          {"goodput_per_s", rates.goodput},
          {"good_share", rates.good_share},
          {"error_share", rates.error_share},
          {"tokens_per_second_max", result.tokens_per_second_max},
          {"concurrency_max", result.concurrency_max}};
}

Json RunJson(const LoadResult& result) {
  Json out = {{"schema", kLoadSchema}};
  AddVllmNames(result, out);
  out["label"] = result.label;
  out["model"] = result.model;
  out["started"] = absl::FormatTime(absl::RFC3339_full, result.started, absl::UTCTimeZone());
  out["rate_offered"] = OrNull(result.rate_offered);
  out["concurrency"] = OrNull(result.concurrency);
  out["options"] = result.options;
  out["environment"] = result.environment;
  out["problems"] = result.problems;
  out["measured_from_s"] = absl::ToDoubleSeconds(result.measured_from);
  out["duration_s"] = absl::ToDoubleSeconds(result.duration);
  out["counts"] = CountsJson(result.counts);
  out["throughput"] = ThroughputJson(result);
  for (const SloField& field : kSloFields) {
    out["slo_ms"][std::string(field.name)] = MsOrNull(result.slo.*field.limit);
  }
  Json& errors = out["errors"] = Json::array();
  for (const ErrorCount& row : result.errors) {
    errors.push_back({{"code", row.code}, {"reason", row.reason}, {"count", row.count}});
  }
  out["finish_reasons"] = NamesJson(result.finish_reasons);
  out["failed_checks"] = NamesJson(result.failed_checks);
  out["client"] = {{"cpu_cores", result.client.cpu_cores},
                   {"rss_bytes_max", result.client.rss_bytes_max},
                   {"send_lag_ms", StatsJson(result.client.send_lag)}};
  EachLatency([&](const LatencyField& field) {
    out["latencies_ms"][std::string(field.name)] = StatsJson(result.latencies.*field.histogram);
  });
  out["timeline"] = TimelineJson(result);
  EachLatency([&](const LatencyField& field) {
    out["histograms"][std::string(field.name)] = HistogramJson(result.latencies.*field.histogram);
  });
  out["histograms"]["send_lag"] = HistogramJson(result.client.send_lag);
  return out;
}

NameValues NameValuesFrom(JsonFields fields) {
  NameValues out;
  for (const std::string& name : fields.Names()) out[name] = fields.Text(name);
  return out;
}

std::vector<NameCount> NamesFrom(JsonFields& fields, absl::string_view name) {
  std::vector<NameCount> rows;
  fields.Each(name, [&rows](JsonFields row) {
    rows.push_back({.name = row.Text("name"), .count = row.Count("count")});
  });
  return rows;
}

Counts CountsFrom(JsonFields fields) {
  Counts counts;
  for (const CountField& field : kCountFields) counts.*field.count = fields.Count(field.name);
  JsonFields kinds = fields.Object("kinds");
  for (int i = 0; i < kRequestKinds; ++i) {
    JsonFields kind = kinds.Object(NameOf(static_cast<RequestKind>(i)));
    for (const KindField& field : kKindFields) {
      counts.kinds[static_cast<size_t>(i)].*field.count = kind.Count(field.name);
    }
  }
  return counts;
}

void TimelineFrom(JsonFields fields, LoadResult& result) {
  result.timeline_step = fields.Seconds("step_s");
  const size_t points = fields.Counts(kPointFields[0].name).size();
  result.timeline.resize(points);
  for (size_t i = 0; i < points; ++i) {
    result.timeline[i].start = result.timeline_step * static_cast<int64_t>(i);
  }
  const auto fits = [&](absl::string_view name, size_t size) {
    if (size != points) {
      fields.Fault(name, absl::StrCat(size, " items, but ", kPointFields[0].name, " has ", points));
    }
    return size == points;
  };
  for (const PointField& field : kPointFields) {
    const std::vector<uint64_t> column = fields.Counts(field.name);
    if (!fits(field.name, column.size())) return;
    for (size_t i = 0; i < points; ++i) result.timeline[i].*field.count = column[i];
  }
  for (const PointTime& field : kPointTimes) {
    const auto column = fields.Numbers(field.name);
    if (!fits(field.name, column.size())) return;
    for (size_t i = 0; i < points; ++i) result.timeline[i].*field.time = FromMs(column[i]);
  }
}

void HistogramsFrom(JsonFields fields, LoadResult& result) {
  EachLatency([&](const LatencyField& field) {
    result.latencies.*field.histogram = HistogramFrom(fields.Object(field.name));
  });
  result.client.send_lag = HistogramFrom(fields.Object("send_lag"));
}

void HeadFrom(JsonFields& fields, LoadResult& result) {
  result.label = fields.Text("label");
  result.model = fields.Text("model");
  const std::string started = fields.Text("started");
  std::string fault;
  if (!absl::ParseTime(absl::RFC3339_full, started, &result.started, &fault)) {
    fields.Fault("started", absl::StrCat("\"", started, "\" is no RFC 3339 time"));
  }
  result.rate_offered = fields.OptionalNumber("rate_offered");
  if (fields.OptionalNumber("concurrency")) {
    result.concurrency = static_cast<uint32_t>(fields.Count("concurrency"));
  }
  result.options = NameValuesFrom(fields.Object("options"));
  result.environment = NameValuesFrom(fields.Object("environment"));
  result.problems = fields.Texts("problems");
}

LoadResult RunFrom(JsonFields fields) {
  LoadResult result;
  HeadFrom(fields, result);
  result.measured_from = fields.Seconds("measured_from_s");
  result.duration = fields.Seconds("duration_s");
  result.counts = CountsFrom(fields.Object("counts"));
  JsonFields throughput = fields.Object("throughput");
  result.tokens_per_second_max = throughput.Count("tokens_per_second_max");
  result.concurrency_max = throughput.Count("concurrency_max");
  JsonFields slo = fields.Object("slo_ms");
  for (const SloField& field : kSloFields) {
    result.slo.*field.limit = FromMs(slo.OptionalNumber(field.name));
  }
  fields.Each("errors", [&result](JsonFields row) {
    result.errors.push_back(
        {.code = row.Text("code"), .reason = row.Text("reason"), .count = row.Count("count")});
  });
  result.finish_reasons = NamesFrom(fields, "finish_reasons");
  result.failed_checks = NamesFrom(fields, "failed_checks");
  JsonFields client = fields.Object("client");
  result.client.cpu_cores = client.Number("cpu_cores");
  result.client.rss_bytes_max = client.Count("rss_bytes_max");
  TimelineFrom(fields.Object("timeline"), result);
  HistogramsFrom(fields.Object("histograms"), result);
  return result;
}

}  // namespace

std::string ToJson(absl::Span<const LoadResult> runs) {
  Json out;
  if (runs.size() == 1) {
    out = RunJson(runs.front());
  } else {
    out = {{"schema", kLoadSchema}, {"runs", Json::array()}};
    for (const LoadResult& run : runs) out["runs"].push_back(RunJson(run));
  }
  return out.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) +
         "\n";
}

absl::StatusOr<std::vector<LoadResult>> FromJson(absl::string_view text) {
  const nlohmann::json json = ParseFileJson(text);
  if (json.is_discarded()) return absl::InvalidArgumentError("the file: is no JSON");
  absl::Status fault;
  JsonFields file(json, "", fault);
  const std::string schema = file.Text("schema");
  if (fault.ok() && schema != kLoadSchema) {
    file.Fault("schema", absl::StrCat("\"", schema, "\" is not \"", kLoadSchema, "\""));
  }
  RETURN_IF_ERROR(fault);
  std::vector<LoadResult> runs;
  if (json.contains("runs")) {
    file.Each("runs", [&runs](JsonFields run) { runs.push_back(RunFrom(std::move(run))); });
    if (runs.empty()) file.Fault("runs", "holds no run");
  } else {
    runs.push_back(RunFrom(std::move(file)));
  }
  RETURN_IF_ERROR(fault);
  return runs;
}

absl::Status WriteResultFile(const std::string& path, absl::Span<const LoadResult> runs) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << ToJson(runs) << std::flush;
  if (out.good()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(path, ": cannot be written: ", std::strerror(errno)));
}

absl::StatusOr<std::vector<LoadResult>> ReadResultFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  auto runs = FromJson(text);
  if (runs.ok()) return runs;
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", runs.status().message()));
}

}  // namespace tandem
