// SPDX-License-Identifier: Apache-2.0
// A prefill and a decode worker without a model, in this process, behind real gRPC: they say what a
// script tells them and remember what they were asked. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/server.h"
#include "tandem/v1/worker.grpc.pb.h"

namespace tandem {

class FakeAnswers;

// What both workers do with every request.
struct Script {
  std::vector<uint32_t> tokens = {1};  // the answer; the first one comes from prefill
  // Where a call stops answering and waits to be cancelled: never by default.
  bool hang_reserve = false;
  absl::Duration reserve_delay;  // a grant comes so late
  bool hang_prefill = false;
  std::optional<size_t> hang_after;  // tokens of Generate
  absl::Duration decode_queue;       // as Generate says it waited
  // What a call ends with instead.
  absl::Status reserve_error;
  absl::Status prefill_error;
  absl::Status generate_error;
};

// What the workers hold and have seen.
struct Seen {
  int leases = 0;      // granted and neither released nor committed
  int prefilling = 0;  // Prefill calls that run
  int generating = 0;  // Generate calls that run
  int releases = 0;
  int reserves = 0;   // Reserve calls
  int on_stream = 0;  // answers whose tokens went to a stream of many
  std::vector<v1::PrefillRequest> prefill_requests;
  std::vector<v1::DecodeServiceGenerateRequest> generate_requests;
  bool Idle() const { return leases == 0 && prefilling == 0 && generating == 0; }
};

// Script and memory, shared by the two workers of a test.
class Stage {
 public:
  void Set(const Script& script) ABSL_LOCKS_EXCLUDED(mutex_);
  Script script() const ABSL_LOCKS_EXCLUDED(mutex_);
  Seen seen() const ABSL_LOCKS_EXCLUDED(mutex_);

  template <typename Change>
  void Update(Change change) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    change(seen_);
  }
  // False: `wanted` did not become true in 10 s.
  template <typename Wanted>
  bool Await(Wanted wanted) const ABSL_LOCKS_EXCLUDED(mutex_) {
    const auto condition = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return wanted(seen_); };
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&condition), absl::Seconds(10));
  }

 private:
  mutable absl::Mutex mutex_;
  Script script_ ABSL_GUARDED_BY(mutex_);
  Seen seen_ ABSL_GUARDED_BY(mutex_);
};

struct FakeWorkerOptions {
  v1::WorkerRole role = v1::WORKER_ROLE_PREFILL;
  uint64_t layout_hash = 7;
  uint32_t context_tokens_max = 4096;
  uint32_t slots_free = 64;
  bool answers = true;      // has AnswerService; an older worker has not
  bool says_tokens = true;  // prefill: that none wait; an older worker does not say
  std::string listen = "127.0.0.1:0";
};

class FakeWorker {
 public:
  // `stage` outlives it.
  FakeWorker(Stage& stage, const FakeWorkerOptions& options);
  // As a death: running calls are cut.
  ~FakeWorker();

  std::string endpoint() const;
  // Ends the streams of many answers, and no more: an answer's own call stays.
  void CutTokens();
  // As a hang: connections stand, but no state comes any more.
  void FallSilent();

 private:
  class Watching;
  class WatchService;
  class Prefilling;
  class PrefillServiceImpl;
  class Generating;
  class DecodeServiceImpl;

  void Tick();

  std::unique_ptr<WatchService> watch_;
  std::unique_ptr<PrefillServiceImpl> prefill_;
  std::unique_ptr<DecodeServiceImpl> decode_;
  std::unique_ptr<FakeAnswers> answers_;
  std::unique_ptr<RpcServer> server_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<Thread> ticker_;
};

}  // namespace tandem
