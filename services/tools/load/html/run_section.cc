// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/html/run_section.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/tools/load/html/html_text.h"
#include "services/tools/load/report/result_text.h"
#include "services/tools/text/number_text.h"

namespace tandem {
namespace {

struct Tile {
  std::string value;
  std::string unit;
  std::string name;
  std::string note;
};

std::string ToHtml(const Tile& tile) {
  return absl::StrCat("<div class=\"tile\"><span>", HtmlEscaped(tile.name), "</span><b>",
                      HtmlEscaped(tile.value), " <small>", HtmlEscaped(tile.unit),
                      "</small></b><p>", HtmlEscaped(tile.note), "</p></div>\n");
}

Tile LatencyTile(const std::string& name, const LatencyHistogram& histogram) {
  if (histogram.empty()) return {.value = "–", .unit = "", .name = name, .note = ""};
  return {.value = MsText(histogram.Quantile(0.5)),
          .unit = "ms p50",
          .name = name,
          .note = absl::StrCat("p99 ", MsText(histogram.Quantile(0.99)), ", max ",
                               MsText(histogram.Max()))};
}

std::string Chip(absl::string_view kind, const std::string& text) {
  return absl::StrCat("<li class=\"", kind, "\">", HtmlEscaped(text), "</li>\n");
}

struct CheckCount {
  uint64_t made = 0;
  uint64_t failed = 0;
};
CheckCount ChecksOf(const LoadResult& result) {
  CheckCount out;
  for (const KindCount& kind : result.counts.kinds) {
    out.made += kind.checks;
    out.failed += kind.checks_failed;
  }
  return out;
}

std::string Chips(const LoadResult& result) {
  const Counts& counts = result.counts;
  const CheckCount checks = ChecksOf(result);
  std::string out = "<ul class=\"chips\">";
  absl::StrAppend(&out, Chip("good", absl::StrCat(CountText(counts.completed), " completed")));
  absl::StrAppend(&out, Chip(counts.failed > 0 ? "bad" : "good",
                             absl::StrCat(CountText(counts.failed), " failed")));
  absl::StrAppend(&out, Chip(checks.failed > 0 ? "bad" : "good",
                             absl::StrCat(CountText(checks.made), " checks, ",
                                          CountText(checks.failed), " failed")));
  for (const std::string& problem : result.problems) absl::StrAppend(&out, Chip("bad", problem));
  for (const std::string& warning : ClientWarnings(result)) {
    absl::StrAppend(&out, Chip("warn", warning));
  }
  return out + "</ul>\n";
}

HtmlTable LatencyTable(const LoadResult& result) {
  HtmlTable table = {.caption = "Latency, ms", .head = {"", "count"}, .rows = {}};
  for (const LatencyStat& stat : LatencyStats()) table.head.emplace_back(stat.name);
  const auto add = [&table](absl::string_view name, const LatencyHistogram& histogram) {
    std::vector<std::string> row = {std::string(name), CountText(histogram.count())};
    for (const LatencyStat& stat : LatencyStats()) {
      row.push_back(histogram.empty() ? "–" : NumberText(stat.milliseconds(histogram)));
    }
    table.rows.push_back(std::move(row));
  };
  for (const LatencyField& field : ClientLatencies()) {
    add(field.text, result.latencies.*field.histogram);
  }
  for (const auto& group : {StageLatencies(), ServerLatencies()}) {
    for (const LatencyField& field : group) {
      add(absl::StrCat("server: ", field.text), result.latencies.*field.histogram);
    }
  }
  add("client: send lag", result.client.send_lag);
  return table;
}

HtmlTable RateTable(const LoadResult& result) {
  const Throughput rates = ThroughputOf(result);
  const Counts& counts = result.counts;
  HtmlTable table = {.caption = "Throughput", .head = {"", "a second", "total"}, .rows = {}};
  table.rows = {
      {"requests completed", NumberText(rates.requests), CountText(counts.completed)},
      {"output tokens", NumberText(rates.tokens), CountText(counts.tokens)},
      {"prompt tokens", NumberText(rates.prompt_tokens), CountText(counts.prompt_tokens)},
      {"all tokens", NumberText(rates.total_tokens),
       CountText(counts.tokens + counts.prompt_tokens)},
      {"output tokens, best second", CountText(result.tokens_per_second_max), ""},
      {"requests inside the SLO", NumberText(rates.goodput), CountText(counts.good)},
      {"tokens lost to failures", "", CountText(counts.tokens_lost)},
      {"requests at once, at most", "", CountText(result.concurrency_max)},
      {"warm-up requests, not measured", "", CountText(counts.warm_up)},
      {"measured time", "", DurationText(result.duration)},
      {"client CPU cores", "", NumberText(result.client.cpu_cores)},
      {"client memory, at most", "", BytesText(result.client.rss_bytes_max)},
  };
  return table;
}

HtmlTable EndTable(const LoadResult& result) {
  HtmlTable table = {.caption = "How requests ended", .head = {"", "requests"}, .rows = {}};
  for (const NameCount& row : result.finish_reasons) {
    table.rows.push_back({absl::StrCat("OK, ", row.name), CountText(row.count)});
  }
  for (const ErrorCount& row : result.errors) {
    const std::string name = absl::StrCat(row.code, row.reason.empty() ? "" : ", ", row.reason);
    table.rows.push_back({name, CountText(row.count)});
  }
  for (const NameCount& row : result.failed_checks) {
    table.rows.push_back({absl::StrCat("failed check: ", row.name), CountText(row.count)});
  }
  return table;
}

HtmlTable KindTable(const LoadResult& result) {
  HtmlTable table = {.caption = "Kinds of requests",
                     .head = {"", "requests", "completed", "checks", "failed checks"},
                     .rows = {}};
  for (int i = 0; i < kRequestKinds; ++i) {
    const KindCount& kind = result.counts.kinds[static_cast<size_t>(i)];
    if (kind.requests == 0 && kind.checks_failed == 0) continue;
    const auto which = static_cast<RequestKind>(i);
    table.rows.push_back({absl::StrCat(IsNasty(which) ? "nasty: " : "", NameOf(which)),
                          CountText(kind.requests), CountText(kind.completed),
                          CountText(kind.checks), CountText(kind.checks_failed)});
  }
  return table;
}

std::string FactsHtml(const std::string& caption, const NameValues& facts) {
  HtmlTable table = {.caption = caption, .head = {"", ""}, .rows = {}};
  for (const auto& [name, value] : facts) table.rows.push_back({name, value});
  if (table.rows.empty()) return "";
  return absl::StrCat("<div class=\"facts\">", ToHtml(table), "</div>");
}

}  // namespace

std::string RunSummaryHtml(const LoadResult& result) {
  const Throughput rates = ThroughputOf(result);
  std::string out = absl::StrCat(Chips(result), "<div class=\"tiles\">");
  std::vector<Tile> tiles = {
      {.value = NumberText(rates.tokens),
       .unit = "tokens/s",
       .name = "Output",
       .note = absl::StrCat("best second ", CountText(result.tokens_per_second_max))},
      {.value = NumberText(rates.requests),
       .unit = "req/s",
       .name = "Requests",
       .note = absl::StrCat("at most ", CountText(result.concurrency_max), " at once")},
      LatencyTile("TTFT", result.latencies.ttft_corrected),
      LatencyTile("TPOT", result.latencies.tpot),
      LatencyTile("End to end", result.latencies.e2e_corrected)};
  if (result.slo.Any()) {
    tiles.push_back(
        {.value = PercentText(rates.good_share),
         .unit = "",
         .name = "Inside the SLO",
         .note = absl::StrCat(SloText(result.slo), ": ", NumberText(rates.goodput), " req/s")});
  }
  for (const Tile& tile : tiles) absl::StrAppend(&out, ToHtml(tile));
  return out + "</div>\n";
}

std::string RunTablesHtml(const LoadResult& result) {
  return absl::StrCat("<h3>All numbers</h3>", ToHtml(LatencyTable(result)),
                      "<div class=\"grid2\"><div>", ToHtml(RateTable(result)), "</div><div>",
                      ToHtml(EndTable(result)), ToHtml(KindTable(result)),
                      "</div></div>\n<h3>Options and environment</h3><div class=\"grid2\">",
                      FactsHtml("Options", result.options),
                      FactsHtml("Environment", result.environment), "</div>\n");
}

}  // namespace tandem
