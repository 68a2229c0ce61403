// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/plan/plan.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/runtime/base/check.h"

namespace tandem {
namespace {

constexpr const char* kNastyNames[kNastyKinds] = {"cancel-early", "cancel-queued", "cancel-midway",
                                                  "cancel-by-id", "vanish",        "slow",
                                                  "absurd",       "duplicate"};

}  // namespace

const char* NameOf(Nasty kind) {
  return kNastyNames[static_cast<int>(kind)];
}

std::optional<Nasty> NastyNamed(absl::string_view name) {
  const auto* it = std::find(std::begin(kNastyNames), std::end(kNastyNames), name);
  if (it == std::end(kNastyNames)) return std::nullopt;
  return static_cast<Nasty>(it - std::begin(kNastyNames));
}

PlanSpec::Longest PlanSpec::LongestSequence() const {
  if (loop != Loop::kTrace) {
    const uint64_t turn = uint64_t{prompt.max()} + output.max();
    return {.tokens = prefix_tokens * uint64_t{prefix_groups > 0} + turn * turns,
            .from = "--prompt-tokens, --output-tokens, --prefix-tokens and --turns"};
  }
  Longest longest;
  for (const TraceLine& line : trace) {
    const uint64_t tokens = uint64_t{line.prompt_tokens} + line.output_tokens;
    if (tokens > longest.tokens) {
      longest = {.tokens = tokens,
                 .from = absl::StrCat("--trace, its request ", &line - trace.data() + 1)};
    }
  }
  return longest;
}

Plan::Plan(PlanSpec spec) : spec_(std::move(spec)), arrivals_(spec_.arrivals, spec_.seed) {
  double sum = 0;
  for (uint32_t group = 0; group < spec_.prefix_groups; ++group) {
    sum += std::pow(group + 1.0, -spec_.prefix_zipf);
    groups_.push_back(sum);
  }
  CHECK(spec_.golden_share == 0 || !spec_.goldens.empty());
  CHECK(spec_.nasty_share == 0 || !spec_.nasty_kinds.empty());
}

std::optional<absl::Duration> Plan::NextArrival() {
  if (spec_.loop == Loop::kOpen) return arrivals_.Next();
  if (spec_.loop == Loop::kTrace) return spec_.trace[trace_at_].at / spec_.trace_speed;
  return std::nullopt;
}

std::optional<PlannedRequest> Plan::Next() {
  if (spec_.requests.has_value() && given_ >= *spec_.requests) return std::nullopt;
  if (spec_.loop == Loop::kTrace && trace_at_ == spec_.trace.size()) return std::nullopt;
  PlannedRequest request = {.index = given_, .at = NextArrival(), .session = sessions_};
  if (request.at.has_value() && *request.at >= spec_.until) return std::nullopt;
  ++given_;
  ++sessions_;
  // By the conversation: `index` depends on whose answers came first.
  Random random(spec_.seed, Draws::kLengths, request.session);
  request.prompt = {.index = request.session,
                    .group_tokens = spec_.prefix_tokens,
                    .block_tokens = spec_.block_tokens};
  if (spec_.loop == Loop::kTrace) {
    const TraceLine& line = spec_.trace[trace_at_++];
    request.prompt.tokens = line.prompt_tokens;
    request.prompt.group = line.group;
    request.prompt.blocks = line.blocks;
    request.output_tokens = line.output_tokens;
  } else {
    request.prompt.tokens = spec_.prompt.Draw(random);
    request.output_tokens = spec_.output.Draw(random);
    if (!groups_.empty()) {
      request.prompt.group = DrawGroup(random);
      request.prompt.tokens += spec_.prefix_tokens;
    }
    request.turns = spec_.turns;
  }
  ChooseKind(request);
  return request;
}

uint32_t Plan::DrawGroup(Random& random) const {
  const double at = random.Unit() * groups_.back();
  const auto it = std::upper_bound(groups_.begin(), groups_.end(), at);
  return static_cast<uint32_t>(std::min<size_t>(it - groups_.begin(), groups_.size() - 1));
}

void Plan::ChooseKind(PlannedRequest& request) {
  Random random(spec_.seed, Draws::kKinds, request.session);
  const double lot = random.Unit();
  request.whim = random.Unit();
  if (lot < spec_.golden_share) {
    request.golden = random.Below(spec_.goldens.size());
    request.prompt = {.index = request.session,
                      .tokens = spec_.goldens[*request.golden].prompt_tokens};
    request.output_tokens = spec_.goldens[*request.golden].output_tokens;
  } else if (lot < spec_.golden_share + spec_.nasty_share) {
    request.nasty = spec_.nasty_kinds[random.Below(spec_.nasty_kinds.size())];
  } else {
    return;
  }
  request.turns = 1;  // Neither goes on with a conversation.
}

std::optional<PlannedRequest> Plan::NextTurn(const PlannedRequest& previous) {
  if (previous.turn + 1 >= previous.turns) return std::nullopt;
  if (spec_.requests.has_value() && given_ >= *spec_.requests) return std::nullopt;
  PlannedRequest request = {.index = given_++,
                            .session = previous.session,
                            .turn = previous.turn + 1,
                            .turns = previous.turns};
  const uint64_t own = (uint64_t{request.turn} << 40) + request.session;
  Random random(spec_.seed, Draws::kTurns, own);
  request.prompt = {.index = own, .tokens = spec_.prompt.Draw(random)};
  request.output_tokens = spec_.output.Draw(random);
  return request;
}

std::string DryRunHeader() {
  return "index,at_s,kind,prompt_tokens,output_tokens,group,turns\n";
}

std::string DryRunLine(const PlannedRequest& request) {
  const std::string at =
      request.at.has_value() ? absl::StrFormat("%.6f", absl::ToDoubleSeconds(*request.at)) : "";
  std::string kind = "load";
  if (request.golden.has_value()) kind = absl::StrCat("golden-", *request.golden);
  if (request.nasty.has_value()) kind = NameOf(*request.nasty);
  const std::string group =
      request.prompt.group.has_value() ? absl::StrCat(*request.prompt.group) : "";
  return absl::StrCat(request.index, ",", at, ",", kind, ",", request.prompt.tokens, ",",
                      request.output_tokens, ",", group, ",", request.turns, "\n");
}

}  // namespace tandem
