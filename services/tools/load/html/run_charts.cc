// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/tools/load/html/run_section.h"
#include "services/tools/load/html/svg_chart.h"

namespace tandem {
namespace {

constexpr int kCurvePoints = 96;
// A curve whose top is this many times its middle is drawn on a logarithmic scale.
constexpr double kLogarithmicFrom = 20;

using Picked = std::vector<std::pair<std::string, const LatencyHistogram*>>;

// Quantiles up to the largest sample, evenly along the axis of nines.
std::string PercentileChart(const std::string& title, const Picked& picked) {
  LineChart chart = {
      .title = title, .x_label = "percentile", .y_label = "ms", .x_scale = XScale::kNines};
  uint64_t samples = 0;
  bool wide = false;
  for (const auto& [name, histogram] : picked) {
    samples = std::max(samples, histogram->count());
    const double middle = absl::ToDoubleMilliseconds(histogram->Quantile(0.5));
    wide = wide || absl::ToDoubleMilliseconds(histogram->Max()) > kLogarithmicFrom * middle;
  }
  chart.logarithmic = wide;
  const double nines = std::log10(static_cast<double>(std::max<uint64_t>(samples, 10)));
  for (int i = 0; i <= kCurvePoints; ++i) {
    chart.xs.push_back(1 - std::pow(10, -nines * i / kCurvePoints));
    chart.x_names.push_back(absl::StrFormat("%.4g %%", chart.xs.back() * 100));
  }
  chart.x_names.back() = "max";
  for (const auto& [name, histogram] : picked) {
    if (histogram->empty()) continue;
    Series series = {.name = name, .values = {}};
    for (const double q : chart.xs) {
      series.values.emplace_back(absl::ToDoubleMilliseconds(histogram->Quantile(q)));
    }
    series.values.back() = absl::ToDoubleMilliseconds(histogram->Max());
    chart.series.push_back(std::move(series));
  }
  return ToSvg(chart);
}

std::string PercentileCharts(const LoadResult& result) {
  const Latencies& times = result.latencies;
  // Without an open loop's schedule both are one line.
  const bool late = times.ttft_corrected.Sum() != times.ttft.Sum();
  Picked first = {{"TTFT", &times.ttft}};
  Picked whole = {{"e2e", &times.e2e}};
  if (late) first.emplace_back("TTFT from schedule", &times.ttft_corrected);
  if (late) whole.emplace_back("e2e from schedule", &times.e2e_corrected);
  return absl::StrCat(PercentileChart("Time to the first token", first),
                      PercentileChart("Time per token", {{"TPOT", &times.tpot},
                                                         {"token gap", &times.token_gap},
                                                         {"chunk gap", &times.chunk_gap}}),
                      PercentileChart("Whole request", whole));
}

class Timeline {
 public:
  explicit Timeline(const LoadResult& result) : result_(result) {
    const bool minutes = result.timeline.size() * absl::ToDoubleSeconds(result.timeline_step) > 600;
    unit_ = minutes ? 60 : 1;
    x_label_ = minutes ? "minutes since the start" : "seconds since the start";
  }

  LineChart Chart(const std::string& title, const std::string& unit) const {
    LineChart chart = {.title = title, .x_label = x_label_, .y_label = unit};
    for (const TimelinePoint& point : result_.timeline) {
      chart.xs.push_back(absl::ToDoubleSeconds(point.start) / unit_);
      chart.x_names.push_back(absl::FormatDuration(point.start));
    }
    return chart;
  }

  Series Rate(const std::string& name, uint64_t TimelinePoint::*count) const {
    return Column(name, [&](const TimelinePoint& point) {
      return static_cast<double>(point.*count) / absl::ToDoubleSeconds(result_.timeline_step);
    });
  }
  Series Level(const std::string& name, uint64_t TimelinePoint::*count) const {
    return Column(name,
                  [&](const TimelinePoint& point) { return static_cast<double>(point.*count); });
  }
  Series Time(const std::string& name, std::optional<absl::Duration> TimelinePoint::*time) const {
    return Column(name, [&](const TimelinePoint& point) -> std::optional<double> {
      if (!(point.*time)) return std::nullopt;
      return absl::ToDoubleMilliseconds(*(point.*time));
    });
  }

 private:
  template <typename ValueOf>
  Series Column(const std::string& name, ValueOf value_of) const {
    Series series = {.name = name, .values = {}};
    for (const TimelinePoint& point : result_.timeline) series.values.push_back(value_of(point));
    return series;
  }

  const LoadResult& result_;
  double unit_ = 1;
  std::string x_label_;
};

std::string TimelineCharts(const LoadResult& result) {
  const Timeline timeline(result);
  LineChart requests = timeline.Chart("Requests", "per second");
  requests.series = {timeline.Rate("sent", &TimelinePoint::sent),
                     timeline.Rate("completed", &TimelinePoint::finished)};
  LineChart errors = timeline.Chart("Errors", "per second");
  errors.series = {timeline.Rate("errors", &TimelinePoint::errors)};
  LineChart tokens = timeline.Chart("Output tokens", "per second");
  tokens.series = {timeline.Rate("tokens", &TimelinePoint::tokens)};
  LineChart running = timeline.Chart("Running requests", "at the step's end");
  running.series = {timeline.Level("running", &TimelinePoint::running)};
  LineChart ttft = timeline.Chart("TTFT from schedule", "ms");
  ttft.series = {timeline.Time("p50", &TimelinePoint::ttft_p50),
                 timeline.Time("p99", &TimelinePoint::ttft_p99)};
  LineChart gap = timeline.Chart("Token gap", "ms");
  gap.series = {timeline.Time("p50", &TimelinePoint::gap_p50)};
  return absl::StrCat(ToSvg(requests), ToSvg(tokens), ToSvg(ttft), ToSvg(gap), ToSvg(running),
                      ToSvg(errors));
}

Bar StageBar(const LoadResult& result, const std::string& name,
             absl::Span<const LatencyField> stages, double q) {
  Bar bar = {.name = name, .parts = {}};
  for (const LatencyField& field : stages) {
    const LatencyHistogram& histogram = result.latencies.*field.histogram;
    const absl::Duration time = q < 0 ? histogram.Mean() : histogram.Quantile(q);
    bar.parts.push_back(
        {.name = std::string(field.text), .value = absl::ToDoubleMilliseconds(time)});
  }
  return bar;
}

std::string StageChart(const LoadResult& result) {
  if (result.latencies.prefill.empty()) return "";
  constexpr double kMean = -1;
  const auto all = StageLatencies();
  const auto to_first = all.subspan(0, all.size() - 1);  // decode comes after the first token
  BarChart chart = {.title = "Where the time goes, by the server's own account", .unit = "ms"};
  chart.bars = {StageBar(result, "whole request, mean", all, kMean),
                StageBar(result, "up to decode, mean", to_first, kMean),
                StageBar(result, "up to decode, p99 of each stage", to_first, 0.99)};
  return ToSvg(chart);
}

}  // namespace

std::string RunChartsHtml(const LoadResult& result) {
  return absl::StrCat("<h3>Latency</h3><div class=\"grid2\">", PercentileCharts(result),
                      StageChart(result), "</div>\n<h3>Over time</h3><div class=\"grid2\">",
                      TimelineCharts(result), "</div>\n");
}

}  // namespace tandem
