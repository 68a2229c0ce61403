// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/options/load_options.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "services/runtime/base/status_macros.h"
#include "services/tools/load/options/flag_reader.h"
#include "services/tools/load/options/plan_flags.h"
#include "services/tools/request_flags.h"

namespace tandem {
namespace {

constexpr absl::Duration kDefaultDuration = absl::Seconds(30);
constexpr uint64_t kRequestsMax = 1'000'000'000;
constexpr uint64_t kConcurrencyMax = 100'000;

void Append(std::vector<FlagSpec>& to, std::vector<FlagSpec> more) {
  for (FlagSpec& spec : more) to.push_back(std::move(spec));
}

std::vector<FlagSpec> DriveFlags() {
  return {{"channels", "N", "connections that share the load (default 4)"},
          {"requests", "N", "so many, the warm-up's not counted"},
          {"duration", "TIME", "so long after the warm-up (default 30s without --requests)"},
          {"warmup", "N|TIME", "requests, or a time, that stand in no number"},
          {"timeout", "TIME", "deadline of a request (default 120s)"},
          {"max-inflight", "N", "streams at once in an open loop; more wait (default 10000)"},
          {"max-errors", "N", "one more ends the run; overload is no error"},
          {"expect-loss", "", "workers are killed meanwhile: to be told of it is a result"},
          {"ready-timeout", "TIME", "wait until the target serves (default 10s)"},
          {"temperature", "X", "0 = greedy (default)"},
          {"stop-at-eos", "", "answers may end early; without it each has all its tokens"},
          {"stream-interval", "N", "tokens a delta at least"}};
}

std::vector<FlagSpec> CheckFlags() {
  return {{"check", "sim", "every answer against the rule of the simulated engine"},
          {"golden", "FILE:SHARE", "greedy prompts with known answers among the requests"},
          {"check-idle", "HOST:PORT", "at the end its /metrics shows nothing left; repeat", true},
          {"idle-timeout", "TIME", "how long --check-idle waits for that (default 10s)"},
          {"nasty", "SHARE", "clients that cancel, vanish, dawdle, …, counted apart"},
          {"nasty-kinds", "A,B,…",
           "cancel-early, cancel-queued, cancel-midway, cancel-by-id, vanish, slow, absurd (a "
           "deadline of 1 ms), duplicate (default: all)"},
          {"slo", "LIMITS", "ttft:MS,tpot:MS,e2e:MS, any of them: goodput counts requests inside"}};
}

std::vector<FlagSpec> OutputFlags() {
  return {{"json", "FILE", "all numbers, schema tandem.load/1"},
          {"csv", "FILE", "a row a run is added"},
          {"html", "FILE", "one page with plots"},
          {"quiet", "", "no live view"},
          {"dry-run", "", "print what would be sent, and send nothing"},
          {"help", "", "print this"}};
}

std::vector<FlagSpec> ModeFlags(Mode mode) {
  if (mode == Mode::kSweep) {
    return {{"rates", "A,B,…", "open loop: a run at each rate, requests a second"},
            {"concurrencies", "A,B,…", "closed loop: a run with so many requests at once each"}};
  }
  if (mode == Mode::kSearch) {
    return {{"goodput", "SHARE", "of requests inside --slo that a rate must reach (default 0.95)"},
            {"rate-low", "R", "where the search begins (default 1)"},
            {"rate-high", "R", "where it ends at the latest"},
            {"precision", "SHARE", "of the rate that is found (default 0.05)"}};
  }
  if (mode == Mode::kSoak) return {{"interval", "TIME", "between two lines (default 60s)"}};
  return {};
}

void ReadDrive(FlagReader& reader, LoadOptions& options) {
  DriveOptions& drive = options.drive;
  auto connection = ConnectionOf(reader.flags());
  if (connection.ok()) drive.connection = *std::move(connection);
  reader.Keep(connection.status());
  options.channels = reader.Whole("channels", {.low = 1, .high = 256}).value_or(options.channels);
  drive.timeout = reader.Time("timeout", {.low = absl::Milliseconds(1)}).value_or(drive.timeout);
  drive.inflight_max = reader.Whole("max-inflight", {.low = 1, .high = kConcurrencyMax})
                           .value_or(drive.inflight_max);
  drive.errors_max = reader.Whole("max-errors", {.high = kRequestsMax});
  drive.loss_expected = reader.Has("expect-loss");
  drive.temperature =
      static_cast<float>(reader.Number("temperature", {.low = 0, .high = 100}).value_or(0));
  drive.ignore_eos = !reader.Has("stop-at-eos");
  drive.stream_interval = reader.Whole("stream-interval", {.high = 1 << 20}).value_or(0);
  options.ready_timeout = reader.Time("ready-timeout", {}).value_or(options.ready_timeout);
}

// A plain number is a number of requests.
void ReadWarmup(FlagReader& reader, LoadOptions& options) {
  uint64_t requests = 0;
  if (absl::SimpleAtoi(reader.Text("warmup"), &requests)) {
    options.drive.warmup_requests = reader.Whole("warmup", {.high = kRequestsMax}).value_or(0);
  } else {
    options.drive.warmup = reader.Time("warmup", {}).value_or(absl::ZeroDuration());
  }
}

void ReadLength(FlagReader& reader, LoadOptions& options) {
  ReadWarmup(reader, options);
  const auto requests = reader.Whole("requests", {.low = 1, .high = kRequestsMax});
  if (requests.has_value()) options.plan.requests = *requests + options.drive.warmup_requests;
  const bool ends = requests.has_value() || reader.Has("trace");
  options.duration = reader.Time("duration", {.low = absl::Milliseconds(1)})
                         .value_or(ends ? absl::InfiniteDuration() : kDefaultDuration);
  options.plan.until = options.drive.warmup + options.duration;
}

void ReadSlo(FlagReader& reader, LoadOptions& options) {
  if (!reader.Has("slo")) return;
  for (absl::string_view piece : absl::StrSplit(reader.Text("slo"), ',')) {
    const std::pair<absl::string_view, absl::string_view> limit =
        absl::StrSplit(piece, absl::MaxSplits(':', 1));
    std::optional<absl::Duration>* slot = nullptr;
    if (limit.first == "ttft") slot = &options.slo.ttft;
    if (limit.first == "tpot") slot = &options.slo.tpot;
    if (limit.first == "e2e") slot = &options.slo.e2e;
    if (slot == nullptr || slot->has_value()) {
      return reader.Wrong("slo", absl::StrCat("\"", piece,
                                              "\" is not ttft:MS, tpot:MS or e2e:MS, "
                                              "each once"));
    }
    *slot = absl::Milliseconds(reader.Piece("slo", limit.second, {.low = 0.001, .high = 1e9}));
  }
}

void ReadChecks(FlagReader& reader, LoadOptions& options) {
  if (reader.Has("check") && reader.Text("check") != "sim") {
    reader.Wrong("check", absl::StrCat("\"", reader.Text("check"), "\" is not sim"));
  }
  options.drive.check_simulated = reader.Has("check");
  if (options.drive.check_simulated && reader.Has("stop-at-eos")) {
    reader.Wrong("check", "sim does not go with --stop-at-eos");
  }
  options.idle_timeout = reader.Time("idle-timeout", {}).value_or(options.idle_timeout);
  for (const std::string& text : reader.flags().Texts("check-idle")) {
    const auto url = ParseMetricsUrl(text);
    if (!url.ok()) return reader.Wrong("check-idle", std::string(url.status().message()));
    options.check_idle.push_back(*url);
  }
  if (reader.Has("golden")) {
    const std::string text = reader.Text("golden");
    const size_t colon = text.rfind(':');
    if (colon == std::string::npos) {
      return reader.Wrong("golden", absl::StrCat("\"", text, "\" is not FILE:SHARE"));
    }
    options.plan.golden_share =
        reader.Piece("golden", text.substr(colon + 1), {.low = 0, .high = 1});
    auto goldens = ReadGoldens(text.substr(0, colon));
    if (!goldens.ok()) return reader.Wrong("golden", std::string(goldens.status().message()));
    options.goldens = *std::move(goldens);
    for (const Golden& golden : options.goldens) {
      options.plan.goldens.push_back(
          {.prompt_tokens = static_cast<uint32_t>(golden.prompt.size()),
           .output_tokens = static_cast<uint32_t>(golden.answer.size())});
    }
  }
  ReadNasty(reader, {.can_vanish = !options.drive.connection.tls}, options.plan);
}

void ReadMode(Mode mode, FlagReader& reader, LoadOptions& options) {
  if (mode == Mode::kSweep) {
    if (reader.Has("rates") == reader.Has("concurrencies")) {
      return reader.Wrong("rates", "exactly one of --rates and --concurrencies is needed");
    }
    for (absl::string_view piece : absl::StrSplit(reader.Text("rates"), ',', absl::SkipEmpty())) {
      options.rates.push_back(reader.Piece("rates", piece, {.low = kRateMin, .high = kRateMax}));
    }
    for (absl::string_view piece :
         absl::StrSplit(reader.Text("concurrencies"), ',', absl::SkipEmpty())) {
      options.concurrencies.push_back(static_cast<uint32_t>(
          reader.Piece("concurrencies", piece, {.low = 1, .high = kConcurrencyMax})));
    }
    if (options.rates.empty() && options.concurrencies.empty()) {
      reader.Wrong(reader.Has("rates") ? "rates" : "concurrencies", "names no run");
    }
  }
  if (mode == Mode::kSearch) {
    const FlagReader::Limits rates = {.low = kRateMin, .high = kRateMax};
    options.goodput = reader.Number("goodput", {.low = 0.01, .high = 1}).value_or(options.goodput);
    options.rate_low = reader.Number("rate-low", rates).value_or(options.rate_low);
    options.rate_high = reader.Number("rate-high", rates).value_or(options.rate_high);
    options.precision =
        reader.Number("precision", {.low = 0.001, .high = 1}).value_or(options.precision);
    if (!options.slo.Any()) reader.Wrong("slo", "is needed: what the search keeps to");
    if (options.rate_low > options.rate_high) reader.Wrong("rate-low", "is above --rate-high");
  }
  if (mode == Mode::kSoak) {
    options.interval =
        reader.Time("interval", {.low = absl::Milliseconds(100)}).value_or(options.interval);
  }
}

}  // namespace

std::vector<FlagGroup> LoadFlagGroups(Mode mode) {
  const bool shaped = mode == Mode::kRun || mode == Mode::kSoak;
  std::vector<FlagSpec> load = shaped ? ShapeFlags() : std::vector<FlagSpec>();
  Append(load, ModeFlags(mode));
  return {{"Load", std::move(load)},         {"How long, and how", DriveFlags()},
          {"Requests", PlanFlags()},         {"Checks and limits", CheckFlags()},
          {"Connection", ConnectionFlags()}, {"Output", OutputFlags()}};
}

std::vector<FlagSpec> LoadFlags(Mode mode) {
  std::vector<FlagSpec> specs;
  for (FlagGroup& group : LoadFlagGroups(mode)) Append(specs, std::move(group.flags));
  return specs;
}

absl::StatusOr<LoadOptions> ParseLoadOptions(Mode mode, const Flags& flags) {
  FlagReader reader(flags);
  LoadOptions options;
  ReadDrive(reader, options);
  ReadLength(reader, options);
  ReadPlan(reader, options.plan);
  if (mode == Mode::kRun || mode == Mode::kSoak) {
    options.drive.concurrency = ReadShape(
        reader, {.begin = options.drive.warmup, .length = options.duration}, options.plan);
  }
  ReadSlo(reader, options);
  ReadChecks(reader, options);
  ReadMode(mode, reader, options);
  RETURN_IF_ERROR(reader.status());
  options.json = flags.Text("json");
  options.csv = flags.Text("csv");
  options.html = flags.Text("html");
  options.quiet = flags.Has("quiet");
  options.dry_run = flags.Has("dry-run");
  for (const FlagSpec& spec : LoadFlags(mode)) {
    if (flags.Has(spec.name)) {
      options.given.emplace(spec.name, absl::StrJoin(flags.Texts(spec.name), " "));
    }
  }
  return options;
}

LoadOptions AtRate(LoadOptions options, double rate) {
  options.plan.loop = Loop::kOpen;
  options.plan.arrivals.rate_begin = rate;
  options.plan.arrivals.rate_end = rate;
  return options;
}

LoadOptions AtConcurrency(LoadOptions options, uint32_t concurrency) {
  options.plan.loop = Loop::kClosed;
  options.drive.concurrency = concurrency;
  return options;
}

}  // namespace tandem
