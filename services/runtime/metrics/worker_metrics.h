// SPDX-License-Identifier: Apache-2.0
// The series of prefill and decode workers. Thread-safe; borrows the registry, which outlives it.
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/runtime/metrics/rate.h"
#include "services/runtime/metrics/registry.h"

namespace tandem {

// One engine step, as both kinds of workers count it.
struct StepSample {
  absl::Time begin;
  absl::Time end;
  int sequences = 0;
  int tokens_prompt = 0;     // read
  int tokens_generated = 0;  // sampled
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
  // reason: timeout, peer_gone, epoch_mismatch, layout, lease_expired, downgrade.
  void CountTransferFailure(const std::string& reason);

  prometheus::Gauge& queue_waiting;  // requests that wait for their first step
  prometheus::Gauge& queue_running;
  prometheus::Gauge& links_shared;
  prometheus::Gauge& links_grpc;

 private:
  void Refresh() ABSL_LOCKS_EXCLUDED(mutex_);

  MetricsRegistry& registry_;
  prometheus::Counter& tokens_prompt_;
  prometheus::Counter& tokens_generated_;
  prometheus::Gauge& throughput_prompt_;
  prometheus::Gauge& throughput_generated_;
  prometheus::Histogram& batch_size_;
  prometheus::Histogram& step_;
  prometheus::Gauge& last_step_age_;
  prometheus::Family<prometheus::Counter>& failures_;
  Rate rate_prompt_;
  Rate rate_generated_;
  absl::Mutex mutex_;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time last_step_ ABSL_GUARDED_BY(mutex_);
};

struct PrefillMetrics {
  explicit PrefillMetrics(MetricsRegistry& registry);

  struct Transfer {
    prometheus::Histogram& seconds;
    prometheus::Histogram& bytes;
  };

  EngineMetrics engine;
  Transfer shared;  // kind SHARED
  Transfer grpc;    // kind GRPC
  prometheus::Histogram& transfer_exposed;
};

struct DecodeMetrics {
  explicit DecodeMetrics(MetricsRegistry& registry);

  struct Pages {
    int free = 0;
    int leased_out = 0;
    int active = 0;
  };
  void SetPages(const Pages& pages);

  struct Leases {
    int granted = 0;
    int writing = 0;
    int filled = 0;
    int committed = 0;
  };
  void SetLeases(const Leases& leases);

  EngineMetrics engine;
  prometheus::Histogram& inter_token_gap;
  prometheus::Counter& lease_expired;
  prometheus::Family<prometheus::Gauge>& blocks;
  prometheus::Family<prometheus::Gauge>& leases;
  prometheus::Gauge& usage_ratio;
};

}  // namespace tandem
