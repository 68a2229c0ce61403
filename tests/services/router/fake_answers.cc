// SPDX-License-Identifier: Apache-2.0
#include "tests/services/router/fake_answers.h"

#include <atomic>
#include <iterator>
#include <set>
#include <utility>
#include <vector>

#include "services/runtime/config/duration.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/rpc/stream_writer.h"

namespace tandem {
namespace {

constexpr size_t kWeightMax = 1 << 20;

}  // namespace

v1::SampledToken Sampled(uint32_t id, const v1::SamplingParams& sampling) {
  v1::SampledToken token;
  token.set_id(id);
  if (!sampling.has_logprobs()) return token;
  // A function of the id: the test can tell whether they stay together.
  token.set_logprob(-static_cast<float>(id));
  for (uint32_t k = 0; k < sampling.logprobs(); ++k) {
    token.mutable_top()->add_token_ids(id + k);
    token.mutable_top()->add_logprobs(-static_cast<float>(id + k));
  }
  return token;
}

std::optional<absl::Status> Play(
    const Script& script, const v1::DecodeServiceGenerateRequest& request,
    const std::function<void(v1::DecodeServiceGenerateResponse)>& write) {
  const std::set<uint32_t> stops(request.stop_token_ids().begin(), request.stop_token_ids().end());
  for (size_t i = 1; i < script.tokens.size(); ++i) {
    if (script.hang_after == i) return std::nullopt;
    const bool stop = stops.contains(script.tokens[i]);
    v1::DecodeServiceGenerateResponse message;
    *message.add_tokens() = Sampled(script.tokens[i], request.sampling());
    if (i == 1) *message.mutable_queue() = ToProto(script.decode_queue);
    if (stop) message.set_reason(v1::FINISH_REASON_STOP);
    if (!stop && i + 1 == request.max_tokens()) message.set_reason(v1::FINISH_REASON_LENGTH);
    const bool last = message.reason() != v1::FINISH_REASON_UNSPECIFIED;
    write(std::move(message));
    if (last) return absl::OkStatus();
  }
  return script.generate_error.ok() ? absl::InternalError("the script is over")
                                    : script.generate_error;
}

Script TakeScript(Stage& stage, const v1::DecodeServiceGenerateRequest& request) {
  const Script script = stage.script();
  stage.Update([&](Seen& seen) {
    ++seen.generating;
    seen.generate_requests.push_back(request);
  });
  return script;
}

class FakeAnswers::TokenStream final : public StreamWriter<v1::TokensResponse> {
 public:
  explicit TokenStream(FakeAnswers* answers) : StreamWriter(kWeightMax), answers_(answers) {}

 private:
  void OnCancelled() override { answers_->Cut(this); }

  FakeAnswers* const answers_;
};

class FakeAnswers::Answering final : public grpc::ServerUnaryReactor {
 public:
  explicit Answering(Stage& stage) : stage_(stage) {}

  void CloseOnce(const absl::Status& status) {
    if (closed_.exchange(true)) return;
    stage_.Update([](Seen& seen) { --seen.generating; });
    Finish(ToGrpcStatus(status));
  }

 private:
  void OnCancel() override { CloseOnce(absl::CancelledError("answer cancelled")); }
  void OnDone() override { delete this; }

  Stage& stage_;
  std::atomic<bool> closed_{false};
};

FakeAnswers::FakeAnswers(Stage& stage, std::function<void(uint64_t)> end_lease)
    : stage_(stage), end_lease_(std::move(end_lease)) {}

grpc::ServerWriteReactor<v1::TokensResponse>* FakeAnswers::Tokens(grpc::CallbackServerContext*,
                                                                  const v1::TokensRequest*) {
  auto* stream = new TokenStream(this);
  absl::MutexLock lock(&mutex_);
  open_[++last_] = stream;
  v1::TokensResponse name;
  name.set_stream(last_);
  (void)stream->Write(name);
  return stream;
}

grpc::ServerUnaryReactor* FakeAnswers::Answer(grpc::CallbackServerContext*,
                                              const v1::AnswerRequest* request,
                                              v1::AnswerResponse* response) {
  end_lease_(request->request().reservation().lease_id());
  stage_.Update([](Seen& seen) { ++seen.on_stream; });
  auto* call = new Answering(stage_);
  const Script script = TakeScript(stage_, request->request());
  uint32_t parts = 0;
  const auto end = Play(script, request->request(), [&](v1::DecodeServiceGenerateResponse message) {
    Send(*request, std::move(message));
    ++parts;
  });
  if (!end.has_value()) return call;
  response->set_parts(parts);
  call->CloseOnce(*end);
  return call;
}

void FakeAnswers::Send(const v1::AnswerRequest& to, v1::DecodeServiceGenerateResponse part) {
  v1::TokensResponse message;
  message.add_parts()->set_answer(to.answer());
  *message.mutable_parts(0)->mutable_part() = std::move(part);
  absl::MutexLock lock(&mutex_);
  const auto it = open_.find(to.stream());
  if (it != open_.end()) (void)it->second->Write(message);
}

void FakeAnswers::Cut(const TokenStream* only) {
  std::vector<TokenStream*> cut;
  {
    absl::MutexLock lock(&mutex_);
    for (auto it = open_.begin(); it != open_.end();) {
      const bool goes = only == nullptr || it->second == only;
      if (goes) cut.push_back(it->second);
      it = goes ? open_.erase(it) : std::next(it);
    }
  }
  for (TokenStream* stream : cut) stream->Close(absl::CancelledError("cut"));
}

}  // namespace tandem
