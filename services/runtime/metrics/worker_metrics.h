// SPDX-License-Identifier: Apache-2.0
// The series of prefill and decode workers and their vLLM aliases. Thread-safe, but for
// inter_token_gap, which is the loop's; borrows the registry, which outlives it.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/runtime/metrics/label_cap.h"
#include "services/runtime/metrics/rate.h"
#include "services/runtime/metrics/registry.h"
#include "services/runtime/metrics/step_histogram.h"
#include "services/runtime/metrics/twin.h"
#include "tandem/v1/link.pb.h"

namespace tandem {

// One engine step, as both kinds of workers count it.
struct StepSample {
  absl::Time begin;
  absl::Time end;
  int sequences = 0;
  int tokens_prompt = 0;     // read
  int tokens_generated = 0;  // sampled
  int64_t launches = 0;      // kernels, if it was replayed
};

// What both kinds have.
class EngineMetrics {
 public:
  // `phase`: prefill or decode.
  EngineMetrics(MetricsRegistry& registry, const std::string& phase);
  ~EngineMetrics() { registry_.RemoveOnScrape(this); }
  EngineMetrics(const EngineMetrics&) = delete;
  EngineMetrics& operator=(const EngineMetrics&) = delete;

  void OnStep(const StepSample& step);
  // While there is work and no step ends, the age of the last one grows.
  void SetBusy(bool busy);

  TwinGauge queue_waiting;  // requests that wait for their first step
  TwinGauge queue_running;

  // `count`: how many links of a kind there are.
  template <typename Count>
  void SetLinks(const Count& count) {
    links_shared_.Set(count(v1::KV_CHANNEL_KIND_SHARED));
    links_ipc_.Set(count(v1::KV_CHANNEL_KIND_IPC));
    links_nccl_.Set(count(v1::KV_CHANNEL_KIND_NCCL));
    links_grpc_.Set(count(v1::KV_CHANNEL_KIND_GRPC));
  }

 private:
  void Refresh() ABSL_LOCKS_EXCLUDED(mutex_);

  prometheus::Gauge& links_shared_;
  prometheus::Gauge& links_ipc_;
  prometheus::Gauge& links_nccl_;
  prometheus::Gauge& links_grpc_;
  MetricsRegistry& registry_;
  TwinCounter tokens_prompt_;
  TwinCounter tokens_generated_;
  prometheus::Gauge& throughput_prompt_;
  prometheus::Gauge& throughput_generated_;
  prometheus::Histogram& batch_size_;
  TwinHistogram step_tokens_;
  prometheus::Histogram& step_;
  prometheus::Gauge& last_step_age_;
  Rate rate_prompt_;
  Rate rate_generated_;
  absl::Mutex mutex_;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time last_step_ ABSL_GUARDED_BY(mutex_);
};

// Pages as a share that is used, and vLLM's line about the cache's size.
class CacheMetrics {
 public:
  explicit CacheMetrics(MetricsRegistry& registry);
  struct Use {
    int pages_used = 0;
    int pages_total = 0;  // never changes
    int page_tokens = 0;
  };
  void Set(const Use& use);

 private:
  MetricsRegistry& registry_;
  TwinGauge usage_;
  bool told_ = false;  // the size; of the loop's thread
};

struct PrefillMetrics {
  explicit PrefillMetrics(MetricsRegistry& registry);

  struct Moved {
    v1::KvChannelKind kind = v1::KV_CHANNEL_KIND_UNSPECIFIED;
    uint64_t bytes = 0;
    uint64_t descriptors = 0;
    absl::Duration under_way;
    absl::Duration exposed;  // not hidden behind prefill
  };
  void OnTransfer(const Moved& moved);
  // Prompts by where they are.
  struct Queues {
    int waiting = 0;  // for their first chunk
    int running = 0;
    int handing = 0;  // read, and their rows are on their way
    absl::Duration oldest_waiting;
    double tokens_waiting = 0;
  };
  void SetQueues(const Queues& queues);

  struct Link {
    std::string peer;
    std::string transport;  // of a link that is lost: any
    enum class State { kLost = 0, kStands = 1, kDowngraded = 2 } state = State::kLost;
  };
  void SetLink(const Link& link);
  // reason: timeout, peer_gone, layout, lease_expired.
  void CountTransferFailure(const std::string& reason);
  // A link that took this way, and was asked for a faster one: ipc, nccl, grpc.
  void CountDowngrade(const std::string& transport);

  EngineMetrics engine;
  prometheus::Histogram& stage_kv_alloc_wait;
  CacheMetrics staging;
  TwinHistogram prompt_time;  // first chunk to first token

 private:
  struct Transfer {
    Transfer(MetricsRegistry& registry, const std::string& transport);
    prometheus::Histogram& seconds;
    prometheus::Histogram& bytes;
    prometheus::Histogram& descriptors;
    prometheus::Histogram& throughput;
  };
  Transfer& TransferBy(v1::KvChannelKind kind);

  Transfer shared_;
  Transfer ipc_;
  Transfer nccl_;
  Transfer grpc_;
  prometheus::Histogram& transfer_exposed_;
  prometheus::Gauge& handing_;
  prometheus::Gauge& oldest_waiting_;
  prometheus::Gauge& tokens_waiting_;
  prometheus::Family<prometheus::Counter>& failures_;
  prometheus::Family<prometheus::Gauge>& links_;
  LabelCap peers_;
  std::map<std::string, std::set<std::string>> transports_;  // that were told, by peer
};

struct DecodeMetrics {
  explicit DecodeMetrics(MetricsRegistry& registry);

  struct Pages {
    int free = 0;
    int leased_out = 0;
    int receiving = 0;
    int active = 0;
    int quarantined = 0;
    int page_tokens = 0;
  };
  void SetPages(const Pages& pages);

  struct Leases {
    int granted = 0;
    int writing = 0;
    int filled = 0;
    int committed = 0;
    int quarantined = 0;
  };
  void SetLeases(const Leases& leases, absl::Time now);

  // Of the whole pool; never changes.
  struct PoolBytes {
    uint64_t compressed = 0;
    uint64_t indexer = 0;
    uint64_t window = 0;
    uint64_t states = 0;  // of compressors
  };
  void SetPoolBytes(const PoolBytes& bytes);

  // A sequence's first token here.
  struct FirstToken {
    absl::Time begun;  // the answer was asked for
    absl::Time step;   // its first step began
    absl::Time end;    // and ended
  };
  void OnFirstToken(const FirstToken& token);

  // An answer starts, with so many tokens of its prompt here.
  void OnAnswer(int prompt_tokens);

  // A step: its gaps were added before.
  void OnStep(const StepSample& step);

  EngineMetrics engine;
  StepHistogram inter_token_gap;
  TwinHistogram decode_time;  // a sequence
  prometheus::Counter& lease_expired;
  prometheus::Counter& wasted;  // tokens whose reader was gone
  CacheMetrics cache;

 private:
  prometheus::Histogram& stage_decode_queue_;
  prometheus::Histogram& stage_first_decode_step_;
  TwinCounter first_tokens_;  // of answers: the alias counts them with the others
  TwinCounter prompt_tokens_;
  prometheus::Counter& replayed_;
  prometheus::Counter& not_replayed_;
  prometheus::Gauge& quarantine_;
  absl::Time quarantined_since_ = absl::InfiniteFuture();
  prometheus::Family<prometheus::Gauge>& bytes_;
  prometheus::Family<prometheus::Gauge>& blocks_;
  prometheus::Family<prometheus::Gauge>& leases_;
  prometheus::Family<prometheus::Gauge>& launches_;
  std::map<unsigned, int64_t> launches_told_;  // by batch
};

}  // namespace tandem
