// SPDX-License-Identifier: Apache-2.0
// Session: the way of one choice across two workers: Reserve, Prefill, Generate, one after another
// as its owner says.
//
// A prompt whose prefill worker is lost, or drains, before it has read it is read once more
// elsewhere, from a new reservation; its owner hears of that by Retried alone.
//
// Runs on its owner's strand: methods are called there and events are delivered there. No thread
// waits. Each call to a worker carries the request's deadline. However it ends, Ended is the last
// event, comes exactly once, and comes after every call is over and an uncommitted reservation was
// given back; then the session may be deleted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/router/workers/worker_table.h"
#include "services/runtime/rpc/strand.h"
#include "services/runtime/rpc/trace/trace_context.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

// What a session tells its owner.
struct Reserved {};
// Reserve was asked for again, because a decode worker drains or a prefill worker is lost.
struct Retried {
  bool prefill = false;  // the latter
  bool ok = false;       // it was granted
};
struct Progress {
  uint32_t tokens = 0;  // of the prompt, read
};
struct Prefilled {
  v1::PrefillDone done;
};
struct Generated {
  v1::DecodeServiceGenerateResponse tokens;
};
struct Ended {
  absl::Status status;  // OK after Stop, and after Generate's own end
};
using SessionEvent = std::variant<Reserved, Retried, Progress, Prefilled, Generated, Ended>;

struct SessionOptions {
  std::string request_id;
  const std::vector<uint32_t>& prompt;
  v1::SamplingParams sampling;
  bool prompt_logprobs = false;
  uint32_t tokens_max = 0;  // of the answer
  std::vector<uint32_t> stop_token_ids;
  absl::Time deadline;
  TraceContext trace;  // of the request, for the workers
  std::unique_ptr<Assignment> workers;
  // Another place, when a worker drains or is lost.
  std::function<absl::StatusOr<std::unique_ptr<Assignment>>()> assign;
};

class Session {
 public:
  // `strand` and the prompt outlive the session.
  Session(SessionOptions options, Strand& strand, std::function<void(SessionEvent)> on_event);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void Reserve();
  // After Reserved.
  void Prefill();
  // After Prefilled.
  void Generate();
  // The owner wants no more: running calls are cancelled, Ended follows. Any time, any number of
  // times.
  void Stop();

 private:
  class ReserveCall;
  template <typename Response>
  class Reading;
  class Answering;

  void OnReserve(const absl::Status& status, const v1::ReserveResponse& response);
  // Whether there is another place than on a decode worker that drains.
  bool PlaceAnew();
  // The same for what a prefill worker did not read: `status` of its call, and what that means. The
  // reservation is given back.
  bool ReadElsewhere(const absl::Status& status, const absl::Status& why);
  // Null: none, or too many already.
  std::unique_ptr<Assignment> OtherPlace();
  void OnPrefill(v1::PrefillResponse& response);
  void OnPrefillOver(const absl::Status& status);
  void OnGenerate(v1::DecodeServiceGenerateResponse& response);
  void OnGenerateOver(const absl::Status& status);
  void OnAnswering();
  void Fail(absl::Status status);
  void MaybeEnd();
  bool Running() const;

  std::unique_ptr<Assignment> workers_;  // until GiveBack takes them over
  const SessionOptions options_;
  Strand& strand_;
  const std::function<void(SessionEvent)> on_event_;
  // A call is held while gRPC may call back.
  std::unique_ptr<ReserveCall> reserve_;
  std::unique_ptr<Reading<v1::PrefillResponse>> prefill_;
  // The answer, one of the two: its tokens come with many others', or on a stream of their own.
  std::unique_ptr<Answering> answering_;
  std::unique_ptr<Reading<v1::DecodeServiceGenerateResponse>> generate_;
  v1::Reservation reservation_;
  uint32_t first_token_ = 0;
  int places_ = 1;          // that it has had
  bool granted_ = false;    // a reservation that nobody has taken over
  bool prefilled_ = false;  // PrefillDone has come
  bool reasoned_ = false;   // Generate has told its reason
  bool over_ = false;       // nothing new is begun
  bool ended_ = false;
  absl::Status lost_;  // why the prompt is read a second time
  absl::Status status_;
};

}  // namespace tandem
