// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/e2e/stream_load.h"

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/notification.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

constexpr size_t kPromptTokens = 16;

// Reads to the end. `Response` has the tokens of one message in the answer's order.
template <typename Response>
class Reading final : public Stream, public grpc::ClientReadReactor<Response> {
 public:
  using IdsOf = void (*)(const Response&, std::vector<uint32_t>&);
  Reading(const StreamQuestion& question, size_t first, IdsOf ids_of)
      : question_(question), first_(first), ids_of_(ids_of) {
    result_.tokens.reserve(question.tokens);
  }

  grpc::ClientContext& context() { return context_; }
  void Start() {
    this->StartRead(&response_);
    this->StartCall();
  }
  const StreamResult& Wait() override {
    over_.WaitForNotification();
    return result_;
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return;
    const absl::Time now = Clock::Real().Now();
    ids_.clear();
    ids_of_(response_, ids_);
    for (const uint32_t id : ids_) {
      result_.wrong += static_cast<int>(id != question_.Answer(first_ + result_.tokens.size()));
      result_.tokens.push_back(now);
    }
    this->StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    result_.status = FromGrpcStatus(status);
    over_.Notify();
  }

  const StreamQuestion question_;
  const size_t first_;  // index of the stream's first token in the answer
  const IdsOf ids_of_;
  grpc::ClientContext context_;
  Response response_;
  std::vector<uint32_t> ids_;
  StreamResult result_;
  absl::Notification over_;
};

v1::SamplingParams Greedy() {
  v1::SamplingParams out;
  out.set_top_p(1);
  out.set_repetition_penalty(1);
  return out;
}

}  // namespace

std::vector<uint32_t> StreamQuestion::Prompt() const {
  std::vector<uint32_t> ids;
  // Two digits of the stream's number in every pair of ids: no two streams have the same prompt.
  for (size_t i = 0; i < kPromptTokens; i += 2) {
    ids.push_back(3 + stream / 900 * 16 + static_cast<uint32_t>(i));
    ids.push_back(903 + stream % 900);
  }
  return ids;
}

uint32_t StreamQuestion::Answer(size_t index) const {
  const size_t i = index % kPromptTokens;
  return i % 2 == 1 ? 903 + stream % 900 : 3 + stream / 900 * 16 + static_cast<uint32_t>(i);
}

std::unique_ptr<Stream> StartRouted(v1::InferenceService::Stub& router,
                                    const StreamQuestion& question) {
  v1::GenerateRequest request;
  const std::vector<uint32_t> prompt = question.Prompt();
  request.mutable_token_ids()->mutable_ids()->Add(prompt.begin(), prompt.end());
  request.mutable_sampling()->set_temperature(0);
  request.set_max_tokens(question.tokens);
  using Call = Reading<v1::GenerateResponse>;
  auto call = std::make_unique<Call>(
      question, 0, [](const v1::GenerateResponse& response, std::vector<uint32_t>& out) {
        const auto& ids = response.delta().token_ids();
        out.assign(ids.begin(), ids.end());
      });
  router.async()->Generate(&call->context(), &request, call.get());
  call->Start();
  return call;
}

DirectPrompt PrefillDirect(const Workers& workers, const StreamQuestion& question) {
  DirectPrompt out;
  const std::vector<uint32_t> prompt = question.Prompt();
  grpc::ClientContext reserve;
  v1::ReserveRequest ask;
  ask.set_tokens(static_cast<uint32_t>(prompt.size()) + question.tokens);
  v1::ReserveResponse granted;
  out.status = FromGrpcStatus(workers.decode.Reserve(&reserve, ask, &granted));
  if (!out.status.ok()) return out;
  out.reservation = granted.reservation();
  grpc::ClientContext context;
  v1::PrefillRequest request;
  request.mutable_token_ids()->Add(prompt.begin(), prompt.end());
  *request.mutable_sampling() = Greedy();
  *request.mutable_reservation() = out.reservation;
  const auto reader = workers.prefill.Prefill(&context, request);
  v1::PrefillResponse response;
  while (reader->Read(&response)) out.first_token = response.done().first().id();
  out.status = FromGrpcStatus(reader->Finish());
  return out;
}

std::unique_ptr<Stream> StartDirect(const Workers& workers, const StreamQuestion& question,
                                    const DirectPrompt& prompt) {
  v1::DecodeServiceGenerateRequest request;
  *request.mutable_reservation() = prompt.reservation;
  request.set_prompt_tokens(kPromptTokens);
  request.set_first_token(prompt.first_token);
  *request.mutable_sampling() = Greedy();
  request.set_max_tokens(question.tokens);
  using Call = Reading<v1::DecodeServiceGenerateResponse>;
  auto call = std::make_unique<Call>(
      question, 1,
      [](const v1::DecodeServiceGenerateResponse& response, std::vector<uint32_t>& out) {
        for (const v1::SampledToken& token : response.tokens()) out.push_back(token.id());
      });
  workers.decode.async()->Generate(&call->context(), &request, call.get());
  call->Start();
  return call;
}

void Release(const Workers& workers, const DirectPrompt& prompt) {
  grpc::ClientContext context;
  v1::ReleaseRequest request;
  *request.mutable_reservation() = prompt.reservation;
  v1::ReleaseResponse response;
  (void)workers.decode.Release(&context, request, &response);
}

}  // namespace tandem
