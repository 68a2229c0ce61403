// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/report/report_verbs.h"

#include <iostream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/status_macros.h"
#include "services/tools/flags.h"
#include "services/tools/load/files/result_csv.h"
#include "services/tools/load/files/result_json.h"
#include "services/tools/load/html/result_html.h"
#include "services/tools/load/report/compare.h"
#include "services/tools/load/report/result_text.h"
#include "services/tools/text/number_text.h"

namespace tandem {
namespace {

constexpr float kThresholdPercent = 5;
constexpr float kThresholdPercentMax = 1000;

std::vector<FlagSpec> CompareFlags() {
  return {{"threshold", "PERCENT", "how much worse B may be (default 5)"},
          {"help", "", "print this"}};
}

std::vector<FlagSpec> ReportFlags() {
  return {{"html", "FILE", "write one page with plots, which needs no network"},
          {"csv", "FILE", "add a row a run"},
          {"help", "", "print this"}};
}

struct PathsAndFlags {
  std::vector<std::string> paths;
  Flags flags;
};

// Paths may stand before, between and after flags.
absl::StatusOr<PathsAndFlags> Split(const std::vector<FlagSpec>& specs,
                                    const std::vector<std::string>& arguments) {
  std::vector<std::string> paths;
  std::vector<std::string> rest;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (!absl::StartsWith(argument, "--")) {
      paths.push_back(argument);
      continue;
    }
    rest.push_back(argument);
    for (const FlagSpec& spec : specs) {
      const bool takes_next = argument == "--" + spec.name && !spec.value.empty();
      if (takes_next && i + 1 < arguments.size()) rest.push_back(arguments[++i]);
    }
  }
  ASSIGN_OR_RETURN(Flags flags, Flags::Parse(specs, rest));
  return PathsAndFlags{.paths = std::move(paths), .flags = std::move(flags)};
}

int Usage(absl::string_view verb, const absl::Status& status) {
  std::cerr << "tandem load " << verb << ": " << status.message()
            << "; --help says what there is\n";
  return 2;
}

// Not a matter of usage: the message names the file.
int BadFile(absl::string_view verb, const absl::Status& status) {
  std::cerr << "tandem load " << verb << ": " << status.message() << "\n";
  return 2;
}

absl::StatusOr<double> ThresholdOf(const Flags& flags) {
  ASSIGN_OR_RETURN(const std::optional<float> percent, flags.Float("threshold"));
  const float value = percent.value_or(kThresholdPercent);
  if (value >= 0 && value <= kThresholdPercentMax) return value / 100.0;
  return absl::InvalidArgumentError(absl::StrCat("--threshold: ", flags.Text("threshold"),
                                                 " is not from 0 to ", kThresholdPercentMax));
}

// The runs of all files, in their order.
absl::StatusOr<std::vector<LoadResult>> ReadAll(const std::vector<std::string>& paths) {
  std::vector<LoadResult> all;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(std::vector<LoadResult> runs, ReadResultFile(path));
    for (LoadResult& run : runs) {
      if (run.label.empty()) run.label = path;
      all.push_back(std::move(run));
    }
  }
  return all;
}

}  // namespace

int RunLoadCompare(const std::vector<std::string>& arguments) {
  const auto split = Split(CompareFlags(), arguments);
  if (!split.ok()) return Usage("compare", split.status());
  if (split->flags.Has("help")) {
    std::cout << "tandem load compare A.json B.json: exit code 1 when B is worse, beyond noise\n\n"
              << Flags::Help(CompareFlags());
    return 0;
  }
  const auto threshold = ThresholdOf(split->flags);
  if (!threshold.ok()) return Usage("compare", threshold.status());
  if (split->paths.size() != 2) {
    return Usage("compare", absl::InvalidArgumentError(
                                absl::StrCat("takes two result files, got ", split->paths.size())));
  }
  const auto a = ReadResultFile(split->paths[0]);
  if (!a.ok()) return BadFile("compare", a.status());
  const auto b = ReadResultFile(split->paths[1]);
  if (!b.ok()) return BadFile("compare", b.status());
  const auto comparisons = CompareRuns(*a, *b, *threshold);
  if (!comparisons.ok()) return BadFile("compare", comparisons.status());
  for (const Comparison& comparison : *comparisons) std::cout << ComparisonText(comparison) << "\n";
  const bool worse = AnyWorse(*comparisons);
  std::cout << (worse ? "B is worse than A by more than " : "B is not worse than A by more than ")
            << NumberText(*threshold * 100) << " %" << std::endl;
  return worse ? 1 : 0;
}

int RunLoadReport(const std::vector<std::string>& arguments) {
  const auto split = Split(ReportFlags(), arguments);
  if (!split.ok()) return Usage("report", split.status());
  const Flags& flags = split->flags;
  if (flags.Has("help")) {
    std::cout << "tandem load report FILE.json…: what result files hold, as tables or a page\n\n"
              << Flags::Help(ReportFlags());
    return 0;
  }
  if (split->paths.empty()) {
    return Usage("report", absl::InvalidArgumentError("takes at least one result file"));
  }
  const auto runs = ReadAll(split->paths);
  if (!runs.ok()) return BadFile("report", runs.status());
  if (flags.Has("html")) {
    const absl::Status written = WriteHtmlFile(flags.Text("html"), *runs);
    if (!written.ok()) return BadFile("report", written);
  }
  if (flags.Has("csv")) {
    const absl::Status written = AppendCsv(flags.Text("csv"), *runs);
    if (!written.ok()) return BadFile("report", written);
  }
  if (flags.Has("html") || flags.Has("csv")) return 0;
  for (const LoadResult& run : *runs) std::cout << ResultText(run);
  if (runs->size() > 1) std::cout << SweepText(*runs);
  std::cout << std::flush;
  return 0;
}

}  // namespace tandem
