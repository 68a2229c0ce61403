// SPDX-License-Identifier: Apache-2.0
// What a fake decode worker answers: a script's tokens, on a stream of their own or on one of many.
// Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "tandem/v1/answers.grpc.pb.h"
#include "tests/services/router/fake_workers.h"

namespace tandem {

v1::SampledToken Sampled(uint32_t id, const v1::SamplingParams& sampling);

// The tokens of a script, given to `write` one by one; ends as the real worker ends an answer: at a
// stop token or at max_tokens, whichever is first. Absent: it hangs.
std::optional<absl::Status> Play(
    const Script& script, const v1::DecodeServiceGenerateRequest& request,
    const std::function<void(v1::DecodeServiceGenerateResponse)>& write);

// Of a new call, before anybody sees it and may change the script for the next one.
Script TakeScript(Stage& stage, const v1::DecodeServiceGenerateRequest& request);

class FakeAnswers final : public v1::AnswerService::CallbackService {
 public:
  // `stage` outlives it. `end_lease`: a reservation is committed.
  FakeAnswers(Stage& stage, std::function<void(uint64_t)> end_lease);
  // The server has ended every call; the lock says so to TSan.
  ~FakeAnswers() override { absl::MutexLock lock(&mutex_); }

  grpc::ServerWriteReactor<v1::TokensResponse>* Tokens(grpc::CallbackServerContext* context,
                                                       const v1::TokensRequest* request) override;
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context,
                                   const v1::AnswerRequest* request,
                                   v1::AnswerResponse* response) override;

  // Ends the streams, or one.
  void Cut() { Cut(nullptr); }

 private:
  class TokenStream;
  class Answering;

  void Send(const v1::AnswerRequest& to, v1::DecodeServiceGenerateResponse part);
  void Cut(const TokenStream* only);

  Stage& stage_;
  const std::function<void(uint64_t)> end_lease_;
  absl::Mutex mutex_;
  uint64_t last_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, TokenStream*> open_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tandem
