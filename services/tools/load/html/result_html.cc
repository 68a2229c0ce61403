// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/html/result_html.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"
#include "services/tools/load/html/html_text.h"
#include "services/tools/load/html/page_assets.h"
#include "services/tools/load/html/run_section.h"
#include "services/tools/load/html/sweep_section.h"

namespace tandem {
namespace {

std::string SubtitleOf(const LoadResult& run) {
  const auto target = run.environment.find("target");
  return absl::StrCat(run.model, target == run.environment.end() ? "" : " at ",
                      target == run.environment.end() ? "" : target->second, " · ",
                      absl::FormatTime("%Y-%m-%d %H:%M UTC", run.started, absl::UTCTimeZone()));
}

std::string Head(const std::string& title) {
  return absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>",
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>",
      HtmlEscaped(title), "</title>\n<style>", kPageCss, "</style></head>\n<body><main>\n");
}

std::string Heading(const std::string& title, const std::string& subtitle) {
  return absl::StrCat(
      "<header><div><h1>", HtmlEscaped(title), "</h1><p class=\"sub\">", HtmlEscaped(subtitle),
      "</p></div><button id=\"theme\" type=\"button\">light / dark</button>", "</header>\n");
}

// < would be markup to a reader of XML.
std::string Foot() {
  return absl::StrCat(
      "<footer>Times are the client's. “From schedule” counts from when a request was due, so a ",
      "server that holds up the client is not let off. TPOT is (last token − first token) / ",
      "(tokens − 1). Written by tandem load.</footer>\n</main>\n<script>//<![CDATA[\n", kPageScript,
      "//]]></script></body></html>\n");
}

}  // namespace

std::string ToHtmlPage(absl::Span<const LoadResult> runs) {
  CHECK(!runs.empty());
  const LoadResult& first = runs.front();
  if (runs.size() == 1) {
    return absl::StrCat(Head(absl::StrCat("tandem load: ", first.label)),
                        Heading(absl::StrCat("Load test: ", first.label), SubtitleOf(first)),
                        RunSummaryHtml(first), RunChartsHtml(first), RunTablesHtml(first), Foot());
  }
  const std::string title = absl::StrCat("Load test: ", runs.size(), " runs");
  std::string out = absl::StrCat(Head(absl::StrCat("tandem load: ", runs.size(), " runs")),
                                 Heading(title, SubtitleOf(first)), SweepHtml(runs));
  for (const LoadResult& run : runs) {
    absl::StrAppend(&out, "<details><summary>", HtmlEscaped(run.label),
                    "</summary><p class=\"sub\">", HtmlEscaped(SubtitleOf(run)), "</p>",
                    RunSummaryHtml(run), RunChartsHtml(run), RunTablesHtml(run), "</details>\n");
  }
  return absl::StrCat(out, Foot());
}

absl::Status WriteHtmlFile(const std::string& path, absl::Span<const LoadResult> runs) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << ToHtmlPage(runs) << std::flush;
  if (out.good()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(path, ": cannot be written: ", std::strerror(errno)));
}

}  // namespace tandem
