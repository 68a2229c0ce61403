// SPDX-License-Identifier: Apache-2.0
// ChoiceReport: where the time of one choice goes, for its Finished message and for the metrics.
// One owner, not thread-safe; told the time, reads no clock. Its methods come in the order of a
// request; any of them may be the last.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/router/answer/answer.h"
#include "services/runtime/metrics/router_metrics.h"
#include "tandem/v1/inference.pb.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

class ChoiceReport {
 public:
  ChoiceReport(RouterMetrics& metrics, absl::Time arrival);
  ~ChoiceReport();
  ChoiceReport(const ChoiceReport&) = delete;
  ChoiceReport& operator=(const ChoiceReport&) = delete;

  // Parts of what lies between the arrival and Reserve; the rest is the tokeniser's.
  struct Preparation {
    absl::Duration render;  // of a chat; zero without
    absl::Duration route;   // its workers were chosen
  };
  void OnPlaced(const Preparation& parts, absl::Time now);  // Reserve begins
  void OnReserved(absl::Time now);
  void OnPrefillBegins();
  void OnPrefilled(const v1::PrefillDone& done, absl::Time now);
  // Its first step in decode began after so long.
  void OnDecodeBegins(absl::Duration waited) { decode_queue_ = waited; }
  // So long took tokens that came to become text; any number of times.
  void OnRead(absl::Duration took) { detokenize_ += took; }
  void OnDelta(absl::Time now);
  // Once: the times of the whole choice.
  v1::Timing OnEnded(const Answer& answer, v1::FinishReason reason, absl::Time now);

  v1::Stage stage() const { return stage_; }
  // reserve, prefill or decode: for messages.
  std::string stage_name() const;

 private:
  void Enter(prometheus::Gauge* stage);
  void Observe(const v1::Timing& timing);
  void CountToolCalls(const ToolCallCounts& calls, bool cut);
  void JudgeEnd(v1::FinishReason reason, absl::Duration took);

  RouterMetrics& metrics_;
  const absl::Time arrival_;
  absl::Time stage_begin_;
  absl::Time first_token_ = absl::InfinitePast();
  absl::Time last_delta_ = absl::InfinitePast();
  v1::Stage stage_ = v1::STAGE_PREFILL;
  prometheus::Gauge* inflight_ = nullptr;  // the stage that it counts in
  Preparation preparation_;
  absl::Duration decode_queue_;  // of the decode stage, as the worker says
  absl::Duration detokenize_;
  v1::Timing timing_;
};

// Label of tandem_requests_total: stop, length, tool_calls, cancelled, deadline, rejected, error.
std::string OutcomeOf(const absl::Status& status, v1::FinishReason reason);

}  // namespace tandem
