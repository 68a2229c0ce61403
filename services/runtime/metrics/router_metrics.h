// SPDX-License-Identifier: Apache-2.0
// The router's series and their vLLM aliases. Thread-safe; borrows the registry.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "services/runtime/metrics/registry.h"
#include "services/runtime/metrics/twin.h"

namespace tandem {

struct RouterMetrics {
  // `tokens_max`: prompt and answer at most, where the bounds of the aliases end.
  RouterMetrics(MetricsRegistry& registry, double tokens_max);

  // outcome: stop, length, tool_calls, cancelled, deadline, rejected, error; code: gRPC's name.
  void CountRequest(const std::string& outcome, const std::string& code);
  void CountRejected(const std::string& reason);

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
  TwinHistogram ttft;
  TwinHistogram tpot;
  TwinHistogram e2e;
  TwinHistogram prompt_tokens;  // a request
  TwinHistogram answer_tokens;  // a choice
  prometheus::Histogram& chunk_gap;
  prometheus::Histogram& stage_tokenize;
  prometheus::Histogram& stage_reserve;
  prometheus::Histogram& stage_prefill_queue;
  prometheus::Histogram& stage_prefill;
  prometheus::Histogram& stage_kv_transfer;
  prometheus::Histogram& stage_decode;
  // Aliases of sums of stages, and of what a request asks for.
  TwinHistogram queue_time;
  TwinHistogram inference_time;
  TwinHistogram params_n;
  TwinHistogram params_max_tokens;

 private:
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Counter>& rejected_;
  TwinCounter success_stop_;
  TwinCounter success_length_;
  TwinCounter success_abort_;
  TwinCounter success_error_;
};

}  // namespace tandem
