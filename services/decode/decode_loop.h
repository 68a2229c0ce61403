// SPDX-License-Identifier: Apache-2.0
// DecodeLoop: the one thread that owns a decode worker's pool, leases, schedule and engine.
//
// Commands come in from any thread through Post, are acted on between steps, and are answered
// exactly once: while the engine computes, too, but for the end of a sequence that it is computing
// for, which waits until its memory is not in use. A step writes one token for every sequence of
// the batch. Memory: the pool is made in Create; nothing is taken per request but ids.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/algorithm/container.h"
#include "services/decode/answers/answer_sink.h"
#include "services/decode/answers/token_streams.h"
#include "services/decode/decode_command.h"
#include "services/decode/links.h"
#include "services/decode/quota.h"
#include "services/runtime/base/bounded_queue.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/engine/engine.h"
#include "services/runtime/kv/kv_storage.h"
#include "services/runtime/kv/lease_table.h"
#include "services/runtime/metrics/worker_metrics.h"
#include "services/runtime/rpc/watch_service.h"
#include "services/runtime/sampling/sampler.h"
#include "services/runtime/scheduler/decode_scheduler.h"

namespace tandem {

class DecodeLoop {
 public:
  struct Options {
    uint64_t incarnation = 0;
    uint64_t lease_seed = 0;
    absl::Duration lease_ttl = absl::Seconds(60);
    int batch_max = 64;
    int64_t context_tokens_max = 0;
    int commands_max = 4096;  // waiting commands; past that callers are told QUEUE_FULL
  };
  // Everything is borrowed but `storage`.
  struct Parts {
    Engine& engine;
    std::unique_ptr<KvStorage> storage;
    WatchService& watch;
    DecodeMetrics& metrics;
    NcclPort* nccl = nullptr;  // null: rows are not received by NCCL
  };
  DecodeLoop(const Options& options, Parts parts);

  // Stops: ends every stream with UNAVAILABLE and answers every command.
  ~DecodeLoop();

  // False: the loop is stopping, or has too much to do. Then the caller answers itself.
  [[nodiscard]] bool Post(DecodeCommand command) { return commands_.TryPush(std::move(command)); }
  // For what must not be lost: the end of something that was admitted. False only when stopping.
  bool PostAlways(DecodeCommand command) { return commands_.PushAlways(std::move(command)); }

  // No new reservations from now on; what is reserved or runs goes on.
  void Drain() { draining_ = true; }
  // Nothing is reserved and nothing runs.
  bool Idle() const { return idle_; }

  const KvStorage& storage() const { return *storage_; }
  NcclPort* nccl() const { return nccl_; }
  uint64_t incarnation() const { return options_.incarnation; }
  // Streams of prefill workers at once.
  Quota& links_quota() { return links_quota_; }
  Quota& write_kv_quota() { return write_kv_quota_; }

 private:
  struct Sequence {
    Grant memory;
    AnswerSink* sink = nullptr;  // owned until closed
    Sampler sampler;
    int64_t position = 0;  // of the token to be read next
    int32_t token = 0;     // that token
    absl::Time begun;
    absl::Time stepped = absl::InfiniteFuture();  // its first step began
    absl::Time last_token;
    absl::Status stopped;  // not OK: ends so when the step that it is in does
  };
  // What the engine works on.
  struct Running {
    absl::Time begin;
    std::vector<SequenceId> batch;
    std::vector<EngineChunk> chunks;
    bool Has(SequenceId id) const { return absl::c_linear_search(batch, id); }
  };

  // What a step wrote for a sequence, and its reader does not know yet.
  struct Written {
    SequenceId id;
    TokenChoice choice;
    std::optional<EndReason> end;
  };

  void Run();
  void Handle(StepDoneCommand& command);
  void Handle(ReserveCommand& command);
  void Handle(ReleaseCommand& command);
  void Handle(GenerateCommand& command);
  void Handle(CancelCommand& command);
  void Handle(TokensOpenedCommand& command) { token_streams_.Open(command.stream); }
  void Handle(TokensLostCommand& command);
  void Handle(LinkOpenedCommand& command);
  void Handle(LinkJoinedCommand& command);
  void Handle(LinkBeginCommand& command);
  void Handle(LinkPartCommand& command);
  void Handle(LinkPartDoneCommand& command);
  void Handle(LinkEndCommand& command);
  void Handle(LinkClosedCommand& command);
  void Handle(WriteKvCommand& command);
  absl::Status Start(const GenerateCommand& command);

  void BeginStep();
  // What the last step wrote, which the next one goes on from, and then its readers' share of it:
  // they are told while the next one runs, where the engine runs beside this thread.
  void Take(SequenceId id, TokenChoice choice);
  void TellReaders();
  void Tell(const Written& written);
  // Sends what answers have written to streams of many.
  void FlushTokens();
  void EndTokens(uint64_t stream, const absl::Status& status);
  // Ends a sequence before its end: now, or when the step that it is in does.
  void StopSequence(SequenceId id, const absl::Status& status);
  // Ends a sequence: its memory is free, its stream closed.
  void End(SequenceId id, absl::Status status);

  void Reap(absl::Time now);
  void PublishState(absl::Time now);
  void Stop();

  const Options options_;
  Engine& engine_;
  const std::unique_ptr<KvStorage> storage_;
  WatchService& watch_;
  DecodeMetrics& metrics_;
  NcclPort* const nccl_;
  Quota links_quota_;
  Quota write_kv_quota_;
  LeaseTable leases_;
  Links links_;
  TokenStreams token_streams_;
  DecodeScheduler scheduler_;
  std::map<SequenceId, Sequence> sequences_;
  std::optional<Running> running_;
  std::vector<Written> written_;  // by the last step, which its readers have not been told of
  StepSample sample_;             // of that step
  SequenceId next_id_ = 1;
  absl::Time next_publish_ = absl::InfinitePast();

  BoundedQueue<DecodeCommand> commands_;
  std::atomic<bool> draining_ = false;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> idle_ = true;
  Thread thread_;  // last: it uses all of the above
};

}  // namespace tandem
