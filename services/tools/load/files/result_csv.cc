// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/files/result_csv.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace tandem {
namespace {

using Cells = std::vector<std::pair<std::string, std::string>>;  // column, value

std::string Quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

std::string ErrorsText(const LoadResult& result) {
  return absl::StrJoin(result.errors, " ", [](std::string* out, const ErrorCount& row) {
    absl::StrAppend(out, row.code, row.reason.empty() ? "" : "/", row.reason, "=", row.count);
  });
}

void AddHead(const LoadResult& result, Cells& cells) {
  cells.emplace_back("label", result.label);
  cells.emplace_back("model", result.model);
  cells.emplace_back("started",
                     absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", result.started, absl::UTCTimeZone()));
  cells.emplace_back("rate_offered", result.rate_offered ? absl::StrCat(*result.rate_offered) : "");
  cells.emplace_back("concurrency", result.concurrency ? absl::StrCat(*result.concurrency) : "");
  cells.emplace_back("duration_s", absl::StrCat(absl::ToDoubleSeconds(result.duration)));
}

void AddCounts(const LoadResult& result, Cells& cells) {
  const Throughput rates = ThroughputOf(result);
  const Counts& counts = result.counts;
  uint64_t checks = 0;
  uint64_t checks_failed = 0;
  for (const KindCount& kind : counts.kinds) {
    checks += kind.checks;
    checks_failed += kind.checks_failed;
  }
  const std::pair<absl::string_view, double> numbers[] = {
      {"requests_per_s", rates.requests}, {"prompt_tokens_per_s", rates.prompt_tokens},
      {"tokens_per_s", rates.tokens},     {"total_tokens_per_s", rates.total_tokens},
      {"goodput_per_s", rates.goodput},   {"good_share", rates.good_share},
      {"error_share", rates.error_share}, {"client_cpu_cores", result.client.cpu_cores}};
  const std::pair<absl::string_view, uint64_t> wholes[] = {
      {"completed", counts.completed},
      {"failed", counts.failed},
      {"prompt_tokens", counts.prompt_tokens},
      {"tokens", counts.tokens},
      {"tokens_per_second_max", result.tokens_per_second_max},
      {"concurrency_max", result.concurrency_max},
      {"checks", checks},
      {"checks_failed", checks_failed}};
  for (const auto& [name, value] : wholes) cells.emplace_back(name, absl::StrCat(value));
  for (const auto& [name, value] : numbers) cells.emplace_back(name, absl::StrCat(value));
  cells.emplace_back("errors", ErrorsText(result));
}

void AddLatency(absl::string_view name, const LatencyHistogram& histogram, Cells& cells) {
  for (const LatencyStat& stat : LatencyStats()) {
    cells.emplace_back(absl::StrCat(name, "_", stat.name, "_ms"),
                       absl::StrCat(stat.milliseconds(histogram)));
  }
}

Cells CellsOf(const LoadResult& result) {
  Cells cells;
  AddHead(result, cells);
  AddCounts(result, cells);
  AddLatency("send_lag", result.client.send_lag, cells);
  for (const auto& group : {ClientLatencies(), StageLatencies()}) {
    for (const LatencyField& field : group) {
      AddLatency(field.name, result.latencies.*field.histogram, cells);
    }
  }
  return cells;
}

}  // namespace

std::string CsvHeader() {
  const Cells cells = CellsOf(LoadResult());
  return absl::StrJoin(
             cells, ",",
             [](std::string* out, const auto& cell) { absl::StrAppend(out, cell.first); }) +
         "\n";
}

std::string CsvRow(const LoadResult& result) {
  const Cells cells = CellsOf(result);
  return absl::StrJoin(cells, ",",
                       [](std::string* out, const auto& cell) {
                         absl::StrAppend(out, Quoted(cell.second));
                       }) +
         "\n";
}

absl::Status AppendCsv(const std::string& path, absl::Span<const LoadResult> runs) {
  const std::string header = CsvHeader();
  std::string first_line;
  std::ifstream old(path, std::ios::binary);
  std::getline(old, first_line);
  if (!first_line.empty() && first_line + "\n" != header) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": its first line is not this version's header, so no row is added"));
  }
  std::ofstream out(path, std::ios::binary | std::ios::app);
  if (first_line.empty()) out << header;
  for (const LoadResult& run : runs) out << CsvRow(run);
  out << std::flush;
  if (out.good()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(path, ": cannot be written: ", std::strerror(errno)));
}

}  // namespace tandem
