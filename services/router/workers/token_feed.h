// SPDX-License-Identifier: Apache-2.0
// TokenFeed: the tokens of all of this router's answers at one decode worker: one stream
// (AnswerService/Tokens), dealt out to those who wait for them. Thread-safe.
//
// A worker that is older than the service is left alone until the next one comes: Join says no.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/alarm.h"
#include "services/runtime/rpc/channel.h"
#include "tandem/v1/answers.grpc.pb.h"

namespace tandem {

// Who waits for the parts of one answer.
class TokenReader {
 public:
  // Under the feed's lock: one OnPart or OnFeedLost follows, without it. So the reader lives until
  // it has left and nothing that was promised is still to come.
  virtual void Promise() = 0;
  virtual void OnPart(v1::DecodeServiceGenerateResponse part) = 0;
  // The stream is over: nothing else comes.
  virtual void OnFeedLost() = 0;

 protected:
  virtual ~TokenReader() = default;
};

class TokenFeed {
 public:
  explicit TokenFeed(const Channel& channel);
  ~TokenFeed();
  TokenFeed(const TokenFeed&) = delete;
  TokenFeed& operator=(const TokenFeed&) = delete;

  // A worker is there. Harmless while a stream stands or is on its way.
  void Open() ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends it, and waits until nothing calls back any more. The destructor does it too.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  v1::AnswerService::Stub& stub() { return *stub_; }

  // Where an answer's parts are to be sent.
  struct Place {
    uint64_t stream = 0;
    uint64_t answer = 0;
  };
  // Absent: no stream stands.
  std::optional<Place> Join(TokenReader& reader) ABSL_LOCKS_EXCLUDED(mutex_);
  // No promise is made afterwards.
  void Leave(uint64_t answer) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Call;

  void OnMessage(v1::TokensResponse& from) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnOver(const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnPause() ABSL_LOCKS_EXCLUDED(mutex_);
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return busy_ == 0; }

  const std::unique_ptr<v1::AnswerService::Stub> stub_;
  absl::Mutex mutex_;
  std::unique_ptr<Call> call_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> pause_ ABSL_GUARDED_BY(mutex_);
  int busy_ ABSL_GUARDED_BY(mutex_) = 0;  // calls and pauses that will call back
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t stream_ ABSL_GUARDED_BY(mutex_) = 0;  // its name; 0 = none stands
  uint64_t next_answer_ ABSL_GUARDED_BY(mutex_) = 1;
  absl::flat_hash_map<uint64_t, TokenReader*> readers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tandem
