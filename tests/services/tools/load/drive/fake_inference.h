// SPDX-License-Identifier: Apache-2.0
// A router without anything behind it, in this process, behind real gRPC: it answers by the rule of
// the simulated engine at times that it keeps and remembers, and makes the mistakes it is told to.
// Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/runtime/rpc/server.h"
#include "services/tools/request_flags.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem {

enum class Fault {
  kNone,
  kSkipIndex,     // a token is counted that was never sent
  kRepeatIndex,   // a delta comes twice
  kForeignToken,  // one token of another prompt
  kSwappedToken,  // one token of the prompt, at the wrong place
  kShort,         // one token less than asked for
  kMiscount,      // usage tells of one token more
  kNoFinished,
  kAcceptedLate,  // after the first token
  kError,         // INTERNAL in the answer
  kLost,          // WORKER_LOST there
};

struct InferenceScript {
  absl::Duration first_token = absl::Milliseconds(5);  // after the arrival
  absl::Duration gap = absl::Milliseconds(1);          // between two deltas
  int delta_tokens = 1;
  size_t requests_max = 10000;  // more at once are answered QUEUE_FULL
  Fault fault = Fault::kNone;
  int fault_every = 1;  // every so many requests
};

// What was done, by this server's own clock.
struct ServedRequest {
  v1::GenerateRequest request;
  absl::Time arrival;
  std::vector<absl::Time> deltas;
  grpc::StatusCode code = grpc::StatusCode::OK;
};

class FakeInference {
 public:
  static constexpr uint32_t kVocabulary = 1000;
  // These, and none else, have no text.
  static constexpr uint32_t kSpecials[] = {0, 1, 500, 998, 999};

  explicit FakeInference(const InferenceScript& script);
  ~FakeInference();

  std::string target() const;  // host:port
  Connection connection() const { return {.channel = {.endpoint = target()}}; }
  void Set(const InferenceScript& script) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetServing(bool serving) { server_->SetServing(serving); }
  std::vector<ServedRequest> served() const ABSL_LOCKS_EXCLUDED(mutex_);
  int running_max() const ABSL_LOCKS_EXCLUDED(mutex_);
  int cancels() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Service;
  struct Running {
    bool cancelled = false;
  };

  mutable absl::Mutex mutex_;
  InferenceScript script_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Running> running_ ABSL_GUARDED_BY(mutex_);
  std::vector<ServedRequest> served_ ABSL_GUARDED_BY(mutex_);
  int arrived_ ABSL_GUARDED_BY(mutex_) = 0;
  int running_max_ ABSL_GUARDED_BY(mutex_) = 0;
  int cancels_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<Service> service_;
  std::unique_ptr<RpcServer> server_;
};

}  // namespace tandem
