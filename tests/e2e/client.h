// SPDX-License-Identifier: Apache-2.0
// One Generate call, read to its end, with the stream's own promises checked on the way: accepted
// first, no gap and no repeat by first_index, exactly one finished a choice.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem {

struct Choice {
  std::vector<uint32_t> tokens;
  std::string text;
  std::string reasoning;
  std::vector<float> logprobs;
  std::vector<v1::TopLogprobs> top;
  std::vector<v1::ToolCall> tool_calls;
  v1::Finished finished;
  bool ended = false;
};

struct Outcome {
  absl::Status status;
  std::string request_id;
  uint32_t prompt_tokens = 0;
  std::vector<float> prompt_logprobs;
  std::map<uint32_t, Choice> choices;
  std::vector<std::string> broken_promises;  // of the stream; empty = good
  absl::Duration took;

  const Choice& only() const { return choices.at(0); }
};

struct CallOptions {
  absl::Duration deadline = absl::Seconds(120);
  // Called after every event with the number of tokens so far; true = cancel the call.
  std::function<bool(int)> cancel_when;
};

Outcome Generate(v1::InferenceService::Stub& client, const v1::GenerateRequest& request,
                 const CallOptions& options = {});

// A greedy request for token ids.
v1::GenerateRequest GreedyRequest(const std::vector<uint32_t>& prompt, uint32_t max_tokens);
// A greedy request with one user message.
v1::GenerateRequest GreedyChat(const std::string& question, bool thinking, uint32_t max_tokens);

}  // namespace tandem
