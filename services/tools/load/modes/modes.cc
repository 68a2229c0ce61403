// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/modes/modes.h"

#include <algorithm>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "services/tools/load/files/result_csv.h"
#include "services/tools/load/files/result_json.h"
#include "services/tools/load/html/result_html.h"
#include "services/tools/load/modes/interrupt.h"
#include "services/tools/load/modes/load_run.h"
#include "services/tools/load/modes/rate_search.h"
#include "services/tools/load/options/load_help.h"
#include "services/tools/load/report/live_view.h"
#include "services/tools/load/report/result_text.h"

namespace tandem {
namespace {

constexpr uint64_t kDryRunMax = 1'000'000;
// A client that kept all it saw would grow; what a run's histograms and timeline take does not
// count.
constexpr uint64_t kGrowthBytesMax = 64 << 20;

struct Runs {
  std::vector<LoadResult> results;
  bool failed = false;

  const LoadResult& Add(RunOutcome outcome) {
    failed = failed || Failed(outcome);
    results.push_back(std::move(outcome.result));
    return results.back();
  }
};

std::string Label(const LoadOptions& options) {
  const ArrivalSpec& arrivals = options.plan.arrivals;
  switch (options.plan.loop) {
    case Loop::kClosed:
      return absl::StrCat("concurrency ", options.drive.concurrency);
    case Loop::kOpen:
      if (arrivals.rate_begin == arrivals.rate_end) return absl::StrCat("rate ", arrivals.rate_end);
      return absl::StrCat("rate ", arrivals.rate_begin, "..", arrivals.rate_end);
    case Loop::kTrace:
      break;
  }
  return "trace";
}

struct Context {
  const LoadOptions& options;
  const TargetInfo& target;
  const Interrupt& interrupt;
};

RunOutcome RunAs(const Context& context, const LoadOptions& options) {
  return RunOnce(
      options,
      {.target = context.target, .interrupted = context.interrupt.flag(), .live = !options.quiet},
      Label(options));
}

// The line of the last run, without a line break; with its titles for the first.
std::string Row(const std::vector<LoadResult>& results) {
  const std::string text = SweepText({&results.back(), 1});
  const absl::string_view table = absl::StripSuffix(text, "\n");
  return std::string(results.size() == 1 ? table : table.substr(table.rfind('\n') + 1));
}

// What a row has no room for.
void TellProblems(const LoadResult& result) {
  for (const std::string& problem : result.problems) std::cerr << "  " << problem << "\n";
  for (const NameCount& check : result.failed_checks) {
    std::cerr << "  failed check " << check.name << ": " << check.count << "\n";
  }
  for (const ErrorCount& error : result.errors) {
    std::cerr << "  " << error.code << " " << error.reason << ": " << error.count << "\n";
  }
}

void DoRun(const Context& context, Runs& runs) {
  std::cout << ResultText(runs.Add(RunAs(context, context.options))) << std::flush;
}

void DoSweep(const Context& context, Runs& runs) {
  std::vector<LoadOptions> all;
  for (const double rate : context.options.rates) all.push_back(AtRate(context.options, rate));
  for (const uint32_t concurrency : context.options.concurrencies) {
    all.push_back(AtConcurrency(context.options, concurrency));
  }
  for (const LoadOptions& options : all) {
    if (context.interrupt.flag()) return;
    (void)runs.Add(RunAs(context, options));
    std::cout << Row(runs.results) << std::endl;
    TellProblems(runs.results.back());
  }
}

void DoSearch(const Context& context, Runs& runs) {
  const LoadOptions& options = context.options;
  RateSearch search(
      {.low = options.rate_low, .high = options.rate_high, .precision = options.precision});
  while (const auto rate = search.Next()) {
    RunOutcome outcome = RunAs(context, AtRate(options, *rate));
    if (outcome.drive.interrupted) return;
    // That nothing completes at a rate is a result of a search; a broken answer is not.
    const bool broken = outcome.drive.errors > 0 || HasFailedChecks(outcome.result);
    const bool good = ThroughputOf(outcome.result).good_share >= options.goodput;
    runs.failed = runs.failed || broken;
    runs.results.push_back(std::move(outcome.result));
    std::cout << Row(runs.results) << (good ? "  good\n" : "  bad\n") << std::flush;
    TellProblems(runs.results.back());
    if (broken) return;
    search.Tell(*rate, good);
  }
  if (search.best().has_value()) {
    const bool at_end = *search.best() >= options.rate_high;
    std::cout << absl::StrFormat("highest rate with %g of the requests inside: %.4g/s%s\n",
                                 options.goodput, *search.best(),
                                 at_end ? ", as high as --rate-high goes" : "");
  } else {
    std::cout << absl::StrFormat("no rate from %g/s on has %g of the requests inside\n",
                                 options.rate_low, options.goodput);
    runs.failed = true;
  }
}

void DoSoak(const Context& context, Runs& runs) {
  uint64_t settled = 0;
  const std::string label = Label(context.options);
  LiveText text({.label = label});
  RunOutcome outcome =
      RunOnce(context.options,
              {.target = context.target,
               .interrupted = context.interrupt.flag(),
               .interval = context.options.interval,
               .look =
                   [&settled, &text](const LoadSnapshot& snapshot) {
                     const uint64_t resident = ResidentBytes();
                     if (settled == 0) settled = resident;
                     std::cout << text.Line(snapshot)
                               << absl::StrFormat("; client %d MiB", resident >> 20) << std::endl;
                   }},
              label);
  const uint64_t resident = ResidentBytes();
  if (settled != 0 && resident > settled + kGrowthBytesMax) {
    outcome.result.problems.push_back(
        absl::StrFormat("the client grew from %d MiB after the first interval to %d MiB",
                        settled >> 20, resident >> 20));
  }
  std::cout << ResultText(runs.Add(std::move(outcome))) << std::flush;
}

int DryRun(Mode mode, const LoadOptions& options) {
  LoadOptions first = options;
  if (!options.rates.empty()) first = AtRate(options, options.rates.front());
  if (!options.concurrencies.empty()) first = AtConcurrency(options, options.concurrencies.front());
  if (mode == Mode::kSearch) first = AtRate(options, options.rate_low);
  // A closed loop has no schedule but its first requests.
  const bool endless = first.plan.loop == Loop::kClosed && !first.plan.requests.has_value();
  const uint64_t lines = endless ? first.drive.concurrency : kDryRunMax;
  Plan plan(first.plan);
  std::cout << DryRunHeader();
  for (uint64_t i = 0; i < lines; ++i) {
    const auto request = plan.Next();
    if (!request.has_value()) break;
    std::cout << DryRunLine(*request);
  }
  std::cout << std::flush;
  return 0;
}

absl::Status WriteFiles(const LoadOptions& options, const std::vector<LoadResult>& results) {
  absl::Status status;
  if (results.empty()) return status;
  if (!options.json.empty()) status.Update(WriteResultFile(options.json, results));
  if (!options.csv.empty()) status.Update(AppendCsv(options.csv, results));
  if (!options.html.empty()) status.Update(WriteHtmlFile(options.html, results));
  return status;
}

int Complain(Mode mode, const absl::Status& status) {
  const bool usage = absl::IsInvalidArgument(status) || absl::IsNotFound(status);
  std::cerr << "tandem load " << NameOf(mode) << ": " << status.message()
            << (usage ? "; --help says what there is\n" : "\n");
  return usage ? 2 : 1;
}

}  // namespace

int RunMode(Mode mode, const std::vector<std::string>& arguments) {
  const auto flags = Flags::Parse(LoadFlags(mode), arguments);
  if (!flags.ok()) return Complain(mode, flags.status());
  if (flags->Has("help")) {
    std::cout << LoadHelp(mode);
    return 0;
  }
  const auto options = ParseLoadOptions(mode, *flags);
  if (!options.ok()) return Complain(mode, options.status());
  if (options->dry_run) return DryRun(mode, *options);
  const auto target = PrepareTarget(*options);
  if (!target.ok()) return Complain(mode, target.status());

  const Interrupt interrupt;
  const Context context = {.options = *options, .target = *target, .interrupt = interrupt};
  Runs runs;
  if (mode == Mode::kRun) DoRun(context, runs);
  if (mode == Mode::kSweep) DoSweep(context, runs);
  if (mode == Mode::kSearch) DoSearch(context, runs);
  if (mode == Mode::kSoak) DoSoak(context, runs);
  const absl::Status written = WriteFiles(*options, runs.results);
  if (!written.ok()) return Complain(mode, written);
  return runs.failed ? 1 : 0;
}

}  // namespace tandem
