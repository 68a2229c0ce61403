// SPDX-License-Identifier: Apache-2.0
// Plan: what a run sends and, in an open loop, when. A value machine: no clock, no network; the
// same spec gives the same requests. Requests come one by one, so a run may last for days. One
// owner.
//
// In a closed loop a request has no time of its own: it is due when a place is free. A conversation
// (turns above 1) is planned by its first turn; the next ones are asked for as answers come.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/tools/load/plan/arrivals.h"
#include "services/tools/load/plan/lengths.h"
#include "services/tools/load/plan/prompts.h"
#include "services/tools/load/plan/trace.h"

namespace tandem {

// How a client misbehaves.
enum class Nasty {
  kCancelEarly,   // before anything came
  kCancelQueued,  // accepted, before the first token
  kCancelMidway,  // in the answer
  kCancelById,    // by the Cancel RPC, in the answer
  kVanish,        // its connection is gone in the answer
  kSlow,          // reads slowly
  kAbsurd,        // a deadline of 1 ms
  kDuplicate,     // the id of a running request, after its first token
};
inline constexpr int kNastyKinds = 8;
const char* NameOf(Nasty kind);  // "cancel-early", …
std::optional<Nasty> NastyNamed(absl::string_view name);

enum class Loop { kClosed, kOpen, kTrace };

struct GoldenSize {
  uint32_t prompt_tokens = 1;
  uint32_t output_tokens = 1;
};

struct PlanSpec {
  uint64_t seed = 1;
  Loop loop = Loop::kClosed;
  ArrivalSpec arrivals;                             // kOpen
  std::vector<TraceLine> trace;                     // kTrace
  double trace_speed = 1;                           // 2 = twice as fast as recorded
  uint32_t block_tokens = 512;                      // of a trace's hash ids
  std::optional<uint64_t> requests;                 // at most
  absl::Duration until = absl::InfiniteDuration();  // nothing is due at or after this
  Lengths prompt = Lengths::Fixed(128);
  Lengths output = Lengths::Fixed(128);
  uint32_t prefix_groups = 0;  // 0 = none
  uint32_t prefix_tokens = 0;  // before the prompt's own
  double prefix_zipf = 1;      // group g is as likely as (g + 1)^-zipf; 0 = all alike
  uint32_t turns = 1;          // of a conversation
  absl::Duration think_time;   // between an answer and the next turn
  double golden_share = 0;
  std::vector<GoldenSize> goldens;  // to choose from
  double nasty_share = 0;
  std::vector<Nasty> nasty_kinds;

  // The longest sequence that can come, prompt and answer together, and which flag makes it so.
  struct Longest {
    uint64_t tokens = 0;
    std::string from;
  };
  Longest LongestSequence() const;
};

struct PlannedRequest {
  uint64_t index = 0;
  std::optional<absl::Duration> at;  // since the run's start; open loop
  PromptRecipe prompt;               // of a later turn: what comes after the conversation so far
  uint32_t output_tokens = 1;
  std::optional<size_t> golden;  // the prompt is this one's
  std::optional<Nasty> nasty;
  double whim = 0;       // 0 to 1: where in the answer a nasty client acts
  uint64_t session = 0;  // of the conversation; what is drawn for it depends on this
  uint32_t turn = 0;
  uint32_t turns = 1;
};

class Plan {
 public:
  explicit Plan(PlanSpec spec);

  // The next request; nullopt when the plan is at its end.
  std::optional<PlannedRequest> Next();
  // The turn after `previous`, due after the think time; nullopt if that was the last, or the plan
  // is at its end.
  std::optional<PlannedRequest> NextTurn(const PlannedRequest& previous);

  const PlanSpec& spec() const { return spec_; }

 private:
  std::optional<absl::Duration> NextArrival();
  void ChooseKind(PlannedRequest& request);
  uint32_t DrawGroup(Random& random) const;

  const PlanSpec spec_;
  Arrivals arrivals_;
  std::vector<double> groups_;  // cumulated weights
  uint64_t given_ = 0;
  uint64_t sessions_ = 0;
  size_t trace_at_ = 0;
};

// "index,at_s,kind,prompt_tokens,output_tokens,group,turns" and a line for each request.
std::string DryRunHeader();
std::string DryRunLine(const PlannedRequest& request);

}  // namespace tandem
