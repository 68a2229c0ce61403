// SPDX-License-Identifier: Apache-2.0
// The router's series. Thread-safe; borrows the registry.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "services/runtime/metrics/registry.h"

namespace tandem {

struct RouterMetrics {
  explicit RouterMetrics(MetricsRegistry& registry);

  // outcome: stop, length, tool_calls, cancelled, deadline, rejected, error; code: gRPC's name.
  void CountRequest(const std::string& outcome, const std::string& code);
  void CountRejected(const std::string& reason);

  prometheus::Family<prometheus::Counter>& requests;
  prometheus::Family<prometheus::Counter>& rejected;
  prometheus::Gauge& inflight_reserve;
  prometheus::Gauge& inflight_prefill;
  prometheus::Gauge& inflight_decode;
  prometheus::Gauge& queue_requests;  // admitted and not ended; bound: requests_max
  prometheus::Gauge& workers_prefill;
  prometheus::Gauge& workers_decode;
  prometheus::Histogram& ttft;
  prometheus::Histogram& tpot;
  prometheus::Histogram& e2e;
  prometheus::Histogram& chunk_gap;
  prometheus::Histogram& stage_tokenize;
  prometheus::Histogram& stage_reserve;
  prometheus::Histogram& stage_prefill_queue;
  prometheus::Histogram& stage_prefill;
  prometheus::Histogram& stage_kv_transfer;
  prometheus::Histogram& stage_decode;
};

}  // namespace tandem
