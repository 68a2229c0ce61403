// SPDX-License-Identifier: Apache-2.0
// Driver: carries a plan out. One thread, the caller's, starts every call, in an open loop at its
// time and however many still run; gRPC's threads read them. A request is built before it is due,
// and none is ever dropped: what is late is sent late, and its latency counts from the schedule.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/runtime/base/bounded_queue.h"
#include "services/tools/load/check/golden.h"
#include "services/tools/load/drive/channels.h"
#include "services/tools/load/drive/load_stream.h"
#include "services/tools/load/drive/target.h"
#include "services/tools/load/plan/plan.h"
#include "services/tools/load/result/recorder.h"
#include "services/tools/request_flags.h"

namespace tandem {

struct DriveOptions {
  Connection connection;
  uint32_t concurrency = 1;       // closed loop: conversations at once
  uint32_t inflight_max = 10000;  // open loop: streams at once; what is due then waits, late
  absl::Duration timeout = absl::Seconds(120);  // of a request
  // Requests scheduled before `warmup`, and the first `warmup_requests`, stand in no number.
  absl::Duration warmup;
  uint64_t warmup_requests = 0;
  std::optional<uint64_t> errors_max;  // one more ends the run; overload is no error
  bool loss_expected = false;          // workers are killed meanwhile: nor is what tells of that
  bool ignore_eos = true;
  float temperature = 0;
  uint32_t stream_interval = 0;
  bool check_simulated = false;  // the server's engine is ENGINE_SIM
};

// Borrowed; outlive the driver.
struct DriveParts {
  absl::Time start;  // what the recorder was given
  Recorder& recorder;
  Channels& channels;
  const TargetInfo& target;
  const std::vector<Golden>& goldens;
  const std::atomic<bool>& interrupted;  // true: cancel what runs, and end
};

struct DriveOutcome {
  uint64_t errors = 0;  // honest requests that failed, but for overload and expected loss
  bool too_many_errors = false;
  bool interrupted = false;
};

class Driver {
 public:
  Driver(const DriveOptions& options, const DriveParts& parts, Plan plan);
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  // Once. Returns when every call has ended; the recorder has seen all of them.
  DriveOutcome Run();

 private:
  absl::Duration Now() const;
  bool OpenLoop() const { return plan_.spec().loop != Loop::kClosed; }
  void Prepare();
  StreamSpec MakeSpec(const PlannedRequest& planned, std::vector<uint32_t> prompt) const;
  void FillRequest(StreamSpec& spec, std::vector<uint32_t> prompt) const;
  bool PlaceFree() const;
  void StartDue();
  void Launch(StreamSpec spec);
  void OnNews(const News& news);
  void OnEnded(LoadStream& stream);
  void ForgiveTwin(LoadStream& twin);
  void Count(const LoadStream& stream);
  // Whether the stream's conversation goes on.
  bool TakeNextTurn(const LoadStream& stream);
  void StartTwin(const LoadStream& original);
  void CancelById(const std::string& request_id);
  void Stop(bool cancel);
  void After(absl::Duration at, std::function<void()> act) { timers_.emplace(at, std::move(act)); }
  void RunTimers();
  absl::Duration UntilNext() const;

  const DriveOptions options_;
  const DriveParts parts_;
  const std::string tag_;  // of this run, in request ids
  Plan plan_;
  std::optional<Address> address_;  // where vanishing clients connect to
  BoundedQueue<News> news_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<LoadStream>> streams_;
  absl::flat_hash_map<uint64_t, absl::Duration> originals_;  // ends, of ids that were sent twice
  uint64_t next_stream_ = 0;
  std::multimap<absl::Duration, std::function<void()>> timers_;
  std::optional<StreamSpec> prepared_;
  uint64_t conversations_ = 0;
  bool plan_over_ = false;
  bool stopping_ = false;  // nothing new is begun
  bool cancelled_ = false;
  DriveOutcome outcome_;
  absl::Mutex mutex_;
  int cancel_calls_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace tandem
