// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/client.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/runtime/rpc/channel.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

void Take(const v1::Delta& delta, Outcome& out) {
  Choice& choice = out.choices[delta.choice()];
  if (choice.ended) out.broken_promises.push_back("a delta after finished");
  if (delta.token_ids_size() > 0 && delta.first_index() != choice.tokens.size()) {
    out.broken_promises.push_back(absl::StrCat("first_index ", delta.first_index(), " after ",
                                               choice.tokens.size(), " tokens"));
  }
  choice.tokens.insert(choice.tokens.end(), delta.token_ids().begin(), delta.token_ids().end());
  choice.text += delta.text();
  choice.reasoning += delta.reasoning();
  choice.logprobs.insert(choice.logprobs.end(), delta.logprobs().begin(), delta.logprobs().end());
  choice.top.insert(choice.top.end(), delta.top().begin(), delta.top().end());
  choice.tool_calls.insert(choice.tool_calls.end(), delta.tool_calls().begin(),
                           delta.tool_calls().end());
  out.prompt_logprobs.insert(out.prompt_logprobs.end(), delta.prompt_logprobs().begin(),
                             delta.prompt_logprobs().end());
}

void Take(const v1::GenerateResponse& response, Outcome& out) {
  const bool accepted = response.has_accepted();
  if (accepted == !out.request_id.empty())
    out.broken_promises.push_back("accepted is not first and only");
  if (accepted) {
    out.request_id = response.accepted().request_id();
    out.prompt_tokens = response.accepted().prompt_tokens();
  }
  if (response.has_delta()) Take(response.delta(), out);
  if (response.has_finished()) {
    Choice& choice = out.choices[response.finished().choice()];
    if (choice.ended) out.broken_promises.push_back("finished twice");
    choice.ended = true;
    choice.finished = response.finished();
    if (choice.finished.usage().completion_tokens() != choice.tokens.size()) {
      out.broken_promises.push_back(absl::StrCat("usage says ",
                                                 choice.finished.usage().completion_tokens(),
                                                 " tokens, the stream had ", choice.tokens.size()));
    }
  }
}

}  // namespace

Outcome Generate(v1::InferenceService::Stub& client, const v1::GenerateRequest& request,
                 const CallOptions& options) {
  Outcome out;
  const absl::Time start = absl::Now();
  grpc::ClientContext context;
  SetDeadline(context, start + options.deadline);
  // A blocking client polls only inside a call: one that fails at once would never see a server
  // come up.
  context.set_wait_for_ready(true);
  const auto reader = client.Generate(&context, request);
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
    Take(response, out);
    const int tokens =
        out.choices.empty() ? 0 : static_cast<int>(out.choices.begin()->second.tokens.size());
    if (options.cancel_when && options.cancel_when(tokens)) context.TryCancel();
  }
  out.status = FromGrpcStatus(reader->Finish());
  out.took = absl::Now() - start;
  for (const auto& [index, choice] : out.choices) {
    if (out.status.ok() && !choice.ended) out.broken_promises.push_back("OK without finished");
  }
  return out;
}

v1::GenerateRequest GreedyRequest(const std::vector<uint32_t>& prompt, uint32_t max_tokens) {
  v1::GenerateRequest request;
  request.mutable_token_ids()->mutable_ids()->Add(prompt.begin(), prompt.end());
  request.mutable_sampling()->set_temperature(0);
  request.set_max_tokens(max_tokens);
  return request;
}

v1::GenerateRequest GreedyChat(const std::string& question, bool thinking, uint32_t max_tokens) {
  v1::GenerateRequest request;
  v1::Message& message = *request.mutable_chat()->add_messages();
  message.set_role("user");
  message.set_content(question);
  request.set_thinking(thinking ? v1::THINKING_ON : v1::THINKING_OFF);
  request.mutable_sampling()->set_temperature(0);
  request.set_max_tokens(max_tokens);
  return request;
}

}  // namespace tandem
