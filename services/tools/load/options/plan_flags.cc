// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/options/plan_flags.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tandem {
namespace {

void ReadLengths(FlagReader& reader, absl::string_view name, Lengths& lengths) {
  if (!reader.Has(name)) return;
  auto parsed = Lengths::Parse(name, reader.Text(name));
  if (parsed.ok()) lengths = *std::move(parsed);
  reader.Keep(parsed.status());
}

void ReadPrefixes(FlagReader& reader, PlanSpec& plan) {
  plan.prefix_groups = reader.Whole("prefix-groups", {.high = 1'000'000}).value_or(0);
  plan.prefix_tokens = reader.Whole("prefix-tokens", {.high = kLengthMax}).value_or(0);
  plan.prefix_zipf = reader.Number("prefix-zipf", {.low = 0, .high = 10}).value_or(1);
  if (!reader.Has("trace") && (plan.prefix_groups > 0) != (plan.prefix_tokens > 0)) {
    reader.Wrong(plan.prefix_groups > 0 ? "prefix-tokens" : "prefix-groups",
                 "is needed: groups and tokens go together");
  }
}

void ReadArrival(FlagReader& reader, PlanSpec& plan) {
  const std::string shape = reader.Has("arrival")      ? reader.Text("arrival")
                            : reader.Has("burstiness") ? "gamma"
                                                       : "constant";
  if (shape != "constant" && shape != "poisson" && shape != "gamma") {
    reader.Wrong("arrival", absl::StrCat("\"", shape, "\" is not constant, poisson or gamma"));
  }
  if (reader.Has("burstiness") && shape != "gamma") {
    reader.Wrong("burstiness", "goes with --arrival gamma");
  }
  const double burstiness = reader.Number("burstiness", {.low = 0.001, .high = 1000}).value_or(1);
  plan.arrivals.burstiness = shape == "constant" ? 0 : burstiness;
}

void ReadRate(FlagReader& reader, const RampTime& ramp, PlanSpec& plan) {
  plan.loop = Loop::kOpen;
  const std::string text = reader.Text("rate");
  const FlagReader::Limits limits = {.low = kRateMin, .high = kRateMax};
  const size_t dots = text.find("..");
  ArrivalSpec& arrivals = plan.arrivals;
  arrivals.rate_begin = reader.Piece("rate", text.substr(0, dots), limits);
  arrivals.rate_end = arrivals.rate_begin;
  if (dots == std::string::npos) return;
  arrivals.rate_end = reader.Piece("rate", text.substr(dots + 2), limits);
  if (ramp.length == absl::InfiniteDuration()) {
    return reader.Wrong("rate", "a ramp needs --duration");
  }
  arrivals.ramp_begin = ramp.begin;
  arrivals.ramp = ramp.length;
}

void ReadTraceFile(FlagReader& reader, PlanSpec& plan) {
  for (const char* other : {"prompt-tokens", "output-tokens", "prefix-groups", "turns"}) {
    if (reader.Has(other)) reader.Wrong(other, "does not go with --trace, which says it");
  }
  plan.loop = Loop::kTrace;
  auto trace = ReadTrace(reader.Text("trace"));
  if (!trace.ok()) return reader.Wrong("trace", std::string(trace.status().message()));
  plan.trace = *std::move(trace);
}

}  // namespace

std::vector<FlagSpec> PlanFlags() {
  return {{"prompt-tokens", "LENGTH",
           "N, A..B, lognormal:MEAN,SIGMA,MAX or file:HISTOGRAM (default 128)"},
          {"output-tokens", "LENGTH", "the same (default 128)"},
          {"prefix-groups", "G", "groups of requests whose prompts begin alike"},
          {"prefix-tokens", "P", "so many tokens before the prompt's own"},
          {"prefix-zipf", "S", "group g is as likely as g^-S; 0 = all alike (default 1)"},
          {"turns", "K", "conversations: prompts grow by answers (default 1)"},
          {"think-time", "TIME", "between an answer and the next turn"},
          {"arrival", "SHAPE", "constant (default), poisson or gamma"},
          {"burstiness", "X", "of gamma: 1 = poisson, below 1 = bursts"},
          {"seed", "N", "same seed, same requests (default 1)"}};
}

void ReadPlan(FlagReader& reader, PlanSpec& plan) {
  ReadLengths(reader, "prompt-tokens", plan.prompt);
  ReadLengths(reader, "output-tokens", plan.output);
  ReadPrefixes(reader, plan);
  plan.turns = reader.Whole("turns", {.low = 1, .high = 10000}).value_or(1);
  plan.think_time = reader.Time("think-time", {}).value_or(absl::ZeroDuration());
  ReadArrival(reader, plan);
  plan.seed = reader.Whole("seed", {}).value_or(1);
}

std::vector<FlagSpec> ShapeFlags() {
  return {{"concurrency", "N", "closed loop: so many requests (conversations) at once"},
          {"rate", "R|A..B", "open loop: requests a second; a ramp over --duration"},
          {"trace", "FILE", "open loop: as recorded, JSON lines (Mooncake's)"},
          {"trace-speed", "X", "2 = twice as fast"},
          {"trace-block", "N", "tokens a hash id stands for (default 512)"}};
}

uint32_t ReadShape(FlagReader& reader, const RampTime& ramp, PlanSpec& plan) {
  const int shapes = reader.Has("concurrency") + reader.Has("rate") + reader.Has("trace");
  if (shapes != 1) {
    reader.Wrong("concurrency", "exactly one of --concurrency, --rate and --trace is needed");
    return 1;
  }
  for (const char* paced : {"arrival", "burstiness"}) {
    if (reader.Has(paced) && !reader.Has("rate")) reader.Wrong(paced, "goes with --rate");
  }
  plan.trace_speed = reader.Number("trace-speed", {.low = 1e-3, .high = 1e6}).value_or(1);
  plan.block_tokens = reader.Whole("trace-block", {.low = 1, .high = kLengthMax}).value_or(512);
  if (reader.Has("rate")) ReadRate(reader, ramp, plan);
  if (reader.Has("trace")) ReadTraceFile(reader, plan);
  return reader.Whole("concurrency", {.low = 1, .high = 100'000}).value_or(1);
}

void ReadNasty(FlagReader& reader, const NastyMeans& means, PlanSpec& plan) {
  plan.nasty_share = reader.Number("nasty", {.low = 0, .high = 1}).value_or(0);
  if (plan.nasty_share + plan.golden_share > 1) {
    reader.Wrong("nasty", "and the share of --golden are together above 1");
  }
  if (!reader.Has("nasty-kinds")) {
    for (int kind = 0; kind < kNastyKinds; ++kind) {
      if (static_cast<Nasty>(kind) == Nasty::kVanish && !means.can_vanish) continue;
      plan.nasty_kinds.push_back(static_cast<Nasty>(kind));
    }
    return;
  }
  if (!reader.Has("nasty")) reader.Wrong("nasty", "is needed with --nasty-kinds");
  for (const std::string& name :
       std::vector<std::string>(absl::StrSplit(reader.Text("nasty-kinds"), ','))) {
    const auto kind = NastyNamed(name);
    if (!kind.has_value()) {
      return reader.Wrong("nasty-kinds", absl::StrCat("\"", name, "\" is no kind; see --help"));
    }
    if (kind == Nasty::kVanish && !means.can_vanish) {
      return reader.Wrong("nasty-kinds", "vanish does not go with TLS");
    }
    plan.nasty_kinds.push_back(*kind);
  }
}

}  // namespace tandem
