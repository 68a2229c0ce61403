// SPDX-License-Identifier: Apache-2.0
// The router's series and their vLLM aliases. Thread-safe; borrows the registry.
#pragma once

#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/runtime/metrics/label_cap.h"
#include "services/runtime/metrics/registry.h"
#include "services/runtime/metrics/twin.h"

namespace tandem {

// The config's slo; without a limit nothing is counted.
struct SloLimits {
  std::optional<absl::Duration> ttft, tpot, e2e;
};

// One of the limits, and how many kept to it.
class SloCounter {
 public:
  struct Limit {
    std::string name;
    std::optional<absl::Duration> most;
  };
  SloCounter(MetricsRegistry& registry, const Limit& limit);

  void Count(absl::Duration took) {
    if (most_.has_value()) (took <= *most_ ? good_ : bad_)->Increment();
  }
  // It failed before that could be told.
  void CountViolation() { Count(absl::InfiniteDuration()); }

 private:
  const std::optional<absl::Duration> most_;
  prometheus::Counter* good_ = nullptr;
  prometheus::Counter* bad_ = nullptr;
};

// tandem_stage_seconds, as far as a router tells of it.
struct RouterStages {
  explicit RouterStages(MetricsRegistry& registry)
      : render(registry.Stage("template")),
        tokenize(registry.Stage("tokenize")),
        route(registry.Stage("route")),
        reserve(registry.Stage("reserve")),
        prefill_queue(registry.Stage("prefill_queue")),
        prefill(registry.Stage("prefill")),
        kv_transfer(registry.Stage("kv_transfer")),
        decode(registry.Stage("decode")),
        detokenize(registry.Stage("detokenize")),
        send(registry.Stage("send")) {}

  prometheus::Histogram& render;
  prometheus::Histogram& tokenize;
  prometheus::Histogram& route;
  prometheus::Histogram& reserve;
  prometheus::Histogram& prefill_queue;
  prometheus::Histogram& prefill;
  prometheus::Histogram& kv_transfer;
  prometheus::Histogram& decode;
  prometheus::Histogram& detokenize;
  prometheus::Histogram& send;
};

struct RouterMetrics {
  // `tokens_max`: prompt and answer at most, where the bounds of the aliases end.
  RouterMetrics(MetricsRegistry& registry, double tokens_max, const SloLimits& slo = {});

  struct RequestEnd {
    std::string outcome;  // stop, length, tool_calls, cancelled, deadline, rejected, error
    std::string code;     // gRPC's name
    std::string tenant;   // name of the API key; empty without keys
  };
  void CountRequest(const RequestEnd& end) ABSL_LOCKS_EXCLUDED(mutex_);
  void CountRejected(const std::string& reason);
  struct Retry {
    bool prefill = false;  // a prompt is read again; else Reserve is asked again
    bool ok = false;       // another place has taken it
  };
  void CountRetry(const Retry& retry) { retries_[retry.prefill][retry.ok]->Increment(); }

  prometheus::Gauge& inflight_reserve;
  prometheus::Gauge& inflight_prefill;
  prometheus::Gauge& inflight_decode;
  prometheus::Gauge& queue_requests;  // admitted and not ended; bound: requests_max
  prometheus::Gauge& workers_prefill;
  prometheus::Gauge& workers_decode;
  prometheus::Gauge& registered_prefill;
  prometheus::Gauge& registered_decode;
  prometheus::Counter& beats_accepted;
  prometheus::Counter& beats_refused;
  prometheus::Counter& beats_missed;
  prometheus::Counter& slow_reader_aborts;
  prometheus::Counter& stream_backpressure;  // seconds
  prometheus::Counter& tool_calls_parsed;
  prometheus::Counter& tool_calls_repaired;
  prometheus::Counter& tool_calls_malformed;
  TwinHistogram ttft;
  TwinHistogram tpot;
  TwinHistogram e2e;
  TwinHistogram prompt_tokens;  // a request
  TwinHistogram answer_tokens;  // a choice
  prometheus::Histogram& chunk_gap;
  RouterStages stages;
  // Aliases of sums of stages, and of what a request asks for.
  TwinHistogram queue_time;
  TwinHistogram inference_time;
  TwinHistogram params_n;
  TwinHistogram params_max_tokens;
  SloCounter slo_ttft;
  SloCounter slo_tpot;
  SloCounter slo_e2e;

 private:
  absl::Mutex mutex_;
  LabelCap tenants_ ABSL_GUARDED_BY(mutex_);
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Counter>& rejected_;
  prometheus::Counter* retries_[2][2];  // as Retry says
  TwinCounter success_stop_;
  TwinCounter success_length_;
  TwinCounter success_abort_;
  TwinCounter success_error_;
};

}  // namespace tandem
