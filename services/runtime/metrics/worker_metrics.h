// SPDX-License-Identifier: Apache-2.0
// The series of prefill and decode workers and their vLLM aliases. Thread-safe, but for
// inter_token_gap, which is the loop's; borrows the registry, which outlives it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/runtime/metrics/rate.h"
#include "services/runtime/metrics/registry.h"
#include "services/runtime/metrics/step_histogram.h"
#include "services/runtime/metrics/twin.h"

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
  prometheus::Gauge& links_shared;
  prometheus::Gauge& links_ipc;
  prometheus::Gauge& links_nccl;
  prometheus::Gauge& links_grpc;

 private:
  void Refresh() ABSL_LOCKS_EXCLUDED(mutex_);

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

  struct Transfer {
    prometheus::Histogram& seconds;
    prometheus::Histogram& bytes;
  };
  // reason: timeout, peer_gone, layout, lease_expired, downgrade.
  void CountTransferFailure(const std::string& reason);

  EngineMetrics engine;
  Transfer shared;  // kind SHARED
  Transfer ipc;     // kind IPC
  Transfer nccl;    // kind NCCL
  Transfer grpc;    // kind GRPC
  prometheus::Histogram& transfer_exposed;
  CacheMetrics staging;
  prometheus::Gauge& oldest_waiting;  // seconds
  prometheus::Gauge& tokens_waiting;
  TwinHistogram prompt_time;  // first chunk to first token

 private:
  prometheus::Family<prometheus::Counter>& failures_;
};

struct DecodeMetrics {
  explicit DecodeMetrics(MetricsRegistry& registry);

  struct Pages {
    int free = 0;
    int leased_out = 0;
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
  void SetLeases(const Leases& leases);

  // A step: its gaps were added before.
  void OnStep(const StepSample& step);

  EngineMetrics engine;
  StepHistogram inter_token_gap;
  TwinCounter first_tokens;   // of answers that start here: the alias counts them with the others
  TwinHistogram decode_time;  // a sequence
  prometheus::Counter& lease_expired;
  CacheMetrics cache;

 private:
  prometheus::Family<prometheus::Gauge>& blocks_;
  prometheus::Family<prometheus::Gauge>& leases_;
  prometheus::Family<prometheus::Gauge>& launches_;
  std::map<unsigned, int64_t> launches_told_;  // by batch
};

}  // namespace tandem
