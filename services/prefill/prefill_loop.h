// SPDX-License-Identifier: Apache-2.0
// PrefillLoop: the one thread that owns a prefill worker's schedule, engine and hand-offs.
//
// A prompt's life, each stage a type: Linking (the link to its decode worker comes up) → Asking
// (may we write?) → Staging (unless in place: waits for local memory) → Reading (scheduled, chunk
// by chunk) → Handing (rows travel) → Ending (the decode worker takes the pages back). Every end,
// good or bad, passes through Drop or Finish; if writing had begun, end_write is said as soon
// as nothing writes any more. While a step runs, others are asked for, handed over, finished and
// dropped: a first token waits for no step of other prompts, and a prompt that is in the step and
// ends early stays, with its memory, until the step is over. Of one that is read to its end there,
// layers travel meanwhile, if its channel takes them.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "services/prefill/admission.h"
#include "services/prefill/peers.h"
#include "services/prefill/prefill_command.h"
#include "services/prefill/prompts.h"
#include "services/runtime/base/bounded_queue.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/engine/engine.h"
#include "services/runtime/metrics/worker_metrics.h"
#include "services/runtime/rpc/watch_service.h"
#include "services/runtime/scheduler/prefill_scheduler.h"

namespace tandem {

class PrefillLoop {
 public:
  struct Options {
    uint64_t incarnation = 0;
    AdmissionLimits admission;
    v1::KvChannelKind preferred = v1::KV_CHANNEL_KIND_SHARED;
    bool strict = false;
    absl::Duration link_timeout = absl::Seconds(5);
    NcclUse nccl;
    std::vector<std::string> decode_workers_allowed;  // as in PrefillConfig
    ChannelCredentials decode_credentials = nullptr;  // null = plain text
    std::string decode_server_name;                   // as in ChannelOptions
  };
  // Everything is borrowed but `staging`.
  struct Parts {
    Engine& engine;
    StagingPool staging;
    WatchService& watch;
    PrefillMetrics& metrics;
  };
  PrefillLoop(const Options& options, Parts parts);

  // Stops: ends every stream with UNAVAILABLE, and waits until nothing is written for a lease.
  ~PrefillLoop();

  // False: the loop is stopping, or full. Then the caller answers itself.
  [[nodiscard]] bool Post(PrefillCommand command) {
    return events_.TryPush(PrefillEvent(std::move(command)));
  }
  void PostAlways(PrefillEvent event) { (void)events_.PushAlways(std::move(event)); }

  void Drain() { draining_ = true; }
  bool Idle() const { return idle_; }

 private:
  using Linking = PrefillPrompt::Linking;
  using Asking = PrefillPrompt::Asking;
  using Staging = PrefillPrompt::Staging;
  using Reading = PrefillPrompt::Reading;
  using Handing = PrefillPrompt::Handing;
  using Ending = PrefillPrompt::Ending;
  // A step that was launched.
  struct Running {
    uint64_t number = 0;
    StepSample sample;
    PrefillPlan plan;
    std::vector<EngineChunk> chunks;
    KvView view;
    bool Has(SequenceId id) const {
      return absl::c_any_of(plan.items, [id](const PrefillItem& item) { return item.id == id; });
    }
  };

  void Run();
  void Handle(PrefillCommand& command);
  void Handle(PrefillCancel& cancel);
  void Handle(LinkEvent& event);
  void Handle(FencePassed& fence);
  void Handle(PrefillLayersDone& done);
  void Handle(PrefillStepDone& done) {
    if (running_.has_value() && running_->number == done.number) EndStep();
  }
  void On(Peer& peer, LinkUp& up);
  void On(Peer& peer, LinkDown& down);
  void On(Peer& peer, LeaseVerdict& verdict);
  void On(Peer& peer, LeaseEnded& ended);
  void On(Peer& peer, LeaseRevoked& revoked);

  absl::Status Check(const v1::PrefillRequest& request) const;
  void Ask(PrefillPrompt& prompt, Peer& peer);
  // From Staging: memory on the channel, then the schedule; or no change.
  void Begin(SequenceId id, PrefillPrompt& prompt, Peer& peer);
  // So for all that are there, in order of arrival: behind one that waits for staging memory only
  // those go on that need none, or a long prompt would wait for as long as short ones come.
  void BeginWaiting();
  void BeginStep();
  // Waits for the step that runs, if one does, and takes its results.
  void EndStep();
  void AfterChunk(const PrefillItem& item, const ChunkResult& result, absl::Time now);
  void HandOver(SequenceId id, PrefillPrompt& prompt, absl::Time now);

  // The end of a prompt that has failed or was cancelled: now, or when the step that it is in ends,
  // which may write its rows until then; and of one that is done.
  void Drop(SequenceId id, const absl::Status& status);
  void Finish(SequenceId id);
  Prompts::iterator Find(const Peer& peer, const LeaseKey& key);

  bool Busy() const { return scheduler_.running() + scheduler_.waiting() > 0; }
  void PublishState(absl::Time now);
  void Stop();

  const Options options_;
  Engine& engine_;
  StagingPool staging_;
  WatchService& watch_;
  PrefillMetrics& metrics_;
  BoundedQueue<PrefillEvent> events_;  // before the peers, whose transfers end with them
  Peers peers_;
  Admission admission_;
  PrefillScheduler scheduler_;
  Prompts prompts_;
  SequenceId next_id_ = 1;
  std::optional<Running> running_;
  uint64_t steps_ = 0;  // that were begun
  absl::Time next_publish_ = absl::InfinitePast();

  std::atomic<bool> draining_ = false;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> idle_ = true;
  Thread thread_;  // last: it uses all of the above
};

}  // namespace tandem
