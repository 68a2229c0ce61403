// SPDX-License-Identifier: Apache-2.0
// LoadStream: one Generate call of a load run, from its start to its status: times taken, order and
// answer checked, misbehaviour acted out. What it cannot do from gRPC's threads it asks the driver
// for, by News.
//
// The driver makes it, calls Start once, and may delete it when it has read the News kEnded.
// Methods are called by the driver's thread; reactions come from gRPC's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "services/runtime/base/bounded_queue.h"
#include "services/tools/load/check/answer_check.h"
#include "services/tools/load/drive/cut_connection.h"
#include "services/tools/load/plan/plan.h"
#include "services/tools/load/result/recorder.h"
#include "services/tools/request_flags.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem {

// What a stream tells its driver.
enum class Tidings {
  kEnded,      // the record is whole
  kReadLater,  // call ReadOn after a pause
  kCancelById,
  kStartTwin,  // its id is running: somebody may send the same
};
struct News {
  uint64_t stream = 0;
  Tidings what = Tidings::kEnded;
};

// Borrowed; outlives the stream.
struct StreamParts {
  absl::Time start;  // of the run: the zero of all durations
  Recorder& recorder;
  BoundedQueue<News>& news;
  const Connection& connection;
  bool loss_expected = false;  // as in DriveOptions
};

struct StreamSpec {
  uint64_t id = 0;  // of the stream, in News
  PlannedRequest planned;
  v1::GenerateRequest request;
  absl::Duration timeout;                   // deadline, from the sending
  std::optional<absl::Duration> scheduled;  // absent: whenever it is sent
  bool warm_up = false;
  bool keep_answer = false;  // for the next turn
  std::optional<AnswerCheck> check;
  std::unique_ptr<CutConnection> own;  // of a client that vanishes
  std::optional<uint64_t> twin_of;     // the stream whose id this one repeats
};

class LoadStream final : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  LoadStream(const StreamParts& parts, StreamSpec spec);

  // `stub` is of a shared connection; unused by a stream that has its own.
  void Start(v1::InferenceService::Stub& stub);
  // After kReadLater, once.
  void ReadOn() { StartRead(&event_); }
  void Cancel() { context_.TryCancel(); }

  const StreamSpec& spec() const { return spec_; }
  // After kEnded.
  RequestRecord& record() { return record_; }
  const RequestRecord& record() const { return record_; }
  const std::vector<uint32_t>& answer() const { return answer_; }

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  absl::Duration Now() const;
  void Tell(Tidings what) { parts_.news.PushAlways({.stream = spec_.id, .what = what}); }
  void Fail(absl::string_view check);
  void OnAccepted(absl::Duration now);
  void OnDelta(const v1::Delta& delta, absl::Duration now);
  void OnFinished(const v1::Finished& finished);
  void Misbehave();
  void CheckEnd();

  const StreamParts parts_;
  StreamSpec spec_;
  const bool measured_;
  const uint32_t act_at_;  // tokens after which a nasty client acts
  bool acted_ = false;
  bool slow_ = false;
  uint32_t finished_ = 0;        // messages
  uint32_t counted_tokens_ = 0;  // that the server says it has written
  grpc::ClientContext context_;
  v1::GenerateResponse event_;
  RequestRecord record_;
  std::vector<uint32_t> answer_;
};

}  // namespace tandem
