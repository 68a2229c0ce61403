// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/html/sweep_section.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/tools/load/html/html_text.h"
#include "services/tools/load/html/svg_chart.h"
#include "services/tools/text/number_text.h"

namespace tandem {
namespace {

using Runs = absl::Span<const LoadResult>;

template <typename ValueOf>
Series SeriesOf(Runs runs, const std::string& name, ValueOf value_of) {
  Series series = {.name = name, .values = {}};
  for (const LoadResult& run : runs) series.values.push_back(value_of(run));
  return series;
}

Series QuantileSeries(Runs runs, LatencyHistogram Latencies::*which, double q) {
  return SeriesOf(runs, q == 0.5 ? "p50" : "p99",
                  [which, q](const LoadResult& run) -> std::optional<double> {
                    const LatencyHistogram& histogram = run.latencies.*which;
                    if (histogram.empty()) return std::nullopt;
                    return absl::ToDoubleMilliseconds(histogram.Quantile(q));
                  });
}

// Lines go from run to run in the order of the sweep: past saturation they turn back.
LineChart AgainstThroughput(Runs runs, const std::string& title,
                            LatencyHistogram Latencies::*which) {
  LineChart chart = {
      .title = title, .x_label = "output tokens per second", .y_label = "ms", .dots = true};
  for (const LoadResult& run : runs) {
    const double tokens = ThroughputOf(run).tokens;
    chart.xs.push_back(tokens);
    chart.x_names.push_back(absl::StrCat(run.label, ": ", NumberText(tokens), " tokens/s"));
  }
  chart.series = {QuantileSeries(runs, which, 0.5), QuantileSeries(runs, which, 0.99)};
  double least = 0;
  double most = 0;
  for (const std::optional<double>& value : chart.series[1].values) {
    if (!value || *value <= 0) continue;
    least = least == 0 ? *value : std::min(least, *value);
    most = std::max(most, *value);
  }
  chart.logarithmic = least > 0 && most > 20 * least;
  return chart;
}

struct Load {
  std::string name;
  std::vector<double> xs;
};

// What the sweep turned; the runs' order when it was neither rate nor concurrency.
Load LoadOf(Runs runs) {
  Load rate = {.name = "requests offered per second", .xs = {}};
  Load concurrency = {.name = "concurrent requests", .xs = {}};
  Load order = {.name = "run", .xs = {}};
  for (const LoadResult& run : runs) {
    if (run.rate_offered) rate.xs.push_back(*run.rate_offered);
    if (run.concurrency) concurrency.xs.push_back(*run.concurrency);
    order.xs.push_back(static_cast<double>(order.xs.size() + 1));
  }
  if (rate.xs.size() == runs.size()) return rate;
  return concurrency.xs.size() == runs.size() ? concurrency : order;
}

LineChart AgainstLoad(Runs runs, const std::string& title, const std::string& unit) {
  Load load = LoadOf(runs);
  LineChart chart = {.title = title,
                     .x_label = load.name,
                     .y_label = unit,
                     .xs = std::move(load.xs),
                     .x_names = {},
                     .series = {},
                     .dots = true};
  for (const LoadResult& run : runs) chart.x_names.push_back(run.label);
  return chart;
}

HtmlTable RunsTable(Runs runs) {
  HtmlTable table = {.caption = "Runs",
                     .head = {"", "req/s", "tokens/s", "TTFT p50 ms", "TTFT p99 ms", "TPOT p50 ms",
                              "TPOT p99 ms", "e2e p99 ms", "inside the SLO", "goodput/s", "errors"},
                     .rows = {}};
  for (const LoadResult& run : runs) {
    const Throughput rates = ThroughputOf(run);
    const Latencies& times = run.latencies;
    table.rows.push_back({run.label, NumberText(rates.requests), NumberText(rates.tokens),
                          MsText(times.ttft_corrected.Quantile(0.5)),
                          MsText(times.ttft_corrected.Quantile(0.99)),
                          MsText(times.tpot.Quantile(0.5)), MsText(times.tpot.Quantile(0.99)),
                          MsText(times.e2e_corrected.Quantile(0.99)), PercentText(rates.good_share),
                          NumberText(rates.goodput), PercentText(rates.error_share)});
  }
  return table;
}

}  // namespace

std::string SweepHtml(absl::Span<const LoadResult> runs) {
  LineChart goodput = AgainstLoad(runs, "Goodput against load", "requests per second");
  goodput.series = {
      SeriesOf(runs, "completed", [](const LoadResult& r) { return ThroughputOf(r).requests; }),
      SeriesOf(runs, "inside the SLO",
               [](const LoadResult& r) { return ThroughputOf(r).goodput; })};
  LineChart tokens = AgainstLoad(runs, "Throughput against load", "output tokens per second");
  tokens.series = {
      SeriesOf(runs, "mean", [](const LoadResult& r) { return ThroughputOf(r).tokens; }),
      SeriesOf(runs, "best second", [](const LoadResult& run) {
        return static_cast<double>(run.tokens_per_second_max);
      })};
  return absl::StrCat("<h2>Side by side</h2><div class=\"grid2\">",
                      ToSvg(AgainstThroughput(runs, "TTFT from schedule against throughput",
                                              &Latencies::ttft_corrected)),
                      ToSvg(AgainstThroughput(runs, "TPOT against throughput", &Latencies::tpot)),
                      ToSvg(goodput), ToSvg(tokens), "</div><h3>All runs</h3>",
                      ToHtml(RunsTable(runs)));
}

}  // namespace tandem
