// SPDX-License-Identifier: Apache-2.0
#include "services/router/choice_report.h"

#include <algorithm>
#include <utility>

#include "services/runtime/config/duration.h"

namespace tandem {

ChoiceReport::ChoiceReport(RouterMetrics& metrics, absl::Time arrival)
    : metrics_(metrics), arrival_(arrival), stage_begin_(arrival) {}

ChoiceReport::~ChoiceReport() {
  Enter(nullptr);
}

void ChoiceReport::Enter(prometheus::Gauge* stage) {
  if (inflight_ != nullptr) inflight_->Decrement();
  inflight_ = stage;
  if (inflight_ != nullptr) inflight_->Increment();
}

void ChoiceReport::OnPlaced(const Preparation& parts, absl::Time now) {
  preparation_ = parts;
  *timing_.mutable_tokenize() = ToProto(now - arrival_);
  stage_begin_ = now;
  Enter(&metrics_.inflight_reserve);
}

void ChoiceReport::OnReserved(absl::Time now) {
  *timing_.mutable_reserve() = ToProto(now - stage_begin_);
}

void ChoiceReport::OnPrefillBegins() {
  Enter(&metrics_.inflight_prefill);
}

void ChoiceReport::OnPrefilled(const v1::PrefillDone& done, absl::Time now) {
  first_token_ = now;
  stage_begin_ = now;
  stage_ = v1::STAGE_DECODE;
  *timing_.mutable_prefill_queue() = done.queue();
  *timing_.mutable_prefill() = done.compute();
  *timing_.mutable_kv_transfer() = done.kv_transfer();
  *timing_.mutable_ttft() = ToProto(now - arrival_);
  metrics_.ttft.Observe(absl::ToDoubleSeconds(now - arrival_));
  metrics_.slo_ttft.Count(now - arrival_);
  Enter(&metrics_.inflight_decode);
}

void ChoiceReport::OnDelta(absl::Time now) {
  if (last_delta_ != absl::InfinitePast()) {
    metrics_.chunk_gap.Observe(absl::ToDoubleSeconds(now - last_delta_));
  }
  last_delta_ = now;
}

v1::Timing ChoiceReport::OnEnded(const Answer& answer, v1::FinishReason reason, absl::Time now) {
  Enter(nullptr);
  const uint32_t completion_tokens = answer.completion_tokens();
  *timing_.mutable_total() = ToProto(now - arrival_);
  if (first_token_ != absl::InfinitePast()) {
    *timing_.mutable_decode() = ToProto(now - stage_begin_);
    if (completion_tokens > 1) {
      const absl::Duration each = (now - first_token_) / (completion_tokens - 1);
      metrics_.tpot.Observe(absl::ToDoubleSeconds(each));
      metrics_.slo_tpot.Count(each);
    }
  }
  metrics_.e2e.Observe(absl::ToDoubleSeconds(now - arrival_));
  metrics_.answer_tokens.Observe(completion_tokens);
  Observe(timing_);
  CountToolCalls(answer.tool_calls(), /*cut=*/!answer.finished().has_value());
  JudgeEnd(reason, now - arrival_);
  return timing_;
}

// What was cut off from outside is no fault of the model's.
void ChoiceReport::CountToolCalls(const ToolCallCounts& calls, bool cut) {
  if (calls.parsed > 0) metrics_.tool_calls_parsed.Increment(calls.parsed);
  if (calls.repaired > 0) metrics_.tool_calls_repaired.Increment(calls.repaired);
  if (calls.malformed > 0 && !cut) metrics_.tool_calls_malformed.Increment(calls.malformed);
}

void ChoiceReport::JudgeEnd(v1::FinishReason reason, absl::Duration took) {
  if (reason == v1::FINISH_REASON_CANCELLED) return;  // the client's own wish
  const bool failed = reason == v1::FINISH_REASON_ERROR || reason == v1::FINISH_REASON_DEADLINE;
  if (!failed) return metrics_.slo_e2e.Count(took);
  if (first_token_ == absl::InfinitePast()) metrics_.slo_ttft.CountViolation();
  metrics_.slo_e2e.CountViolation();
}

void ChoiceReport::Observe(const v1::Timing& timing) {
  const auto add = [](prometheus::Histogram& stage, absl::Duration time) {
    stage.Observe(absl::ToDoubleSeconds(time));
  };
  const auto observe = [add](prometheus::Histogram& stage, const google::protobuf::Duration& time) {
    add(stage, FromProto(time));
  };
  if (timing.has_tokenize()) {
    const auto& [render, route] = preparation_;
    if (render > absl::ZeroDuration()) add(metrics_.stages.render, render);
    add(metrics_.stages.tokenize, FromProto(timing.tokenize()) - render - route);
    add(metrics_.stages.route, route);
  }
  if (timing.has_reserve()) observe(metrics_.stages.reserve, timing.reserve());
  if (!timing.has_prefill()) return;
  observe(metrics_.stages.prefill_queue, timing.prefill_queue());
  observe(metrics_.stages.prefill, timing.prefill());
  observe(metrics_.stages.kv_transfer, timing.kv_transfer());
  observe(metrics_.stages.decode, timing.decode());
  add(metrics_.stages.detokenize, detokenize_);
  const absl::Duration decode = FromProto(timing.decode());
  const absl::Duration turn = std::clamp(decode_queue_, absl::ZeroDuration(), decode);
  const absl::Duration waited =
      FromProto(timing.reserve()) + FromProto(timing.prefill_queue()) + turn;
  metrics_.queue_time.Observe(absl::ToDoubleSeconds(waited));
  const absl::Duration worked =
      FromProto(timing.prefill()) + FromProto(timing.kv_transfer()) + decode - turn;
  metrics_.inference_time.Observe(absl::ToDoubleSeconds(worked));
}

std::string ChoiceReport::stage_name() const {
  if (inflight_ == &metrics_.inflight_decode) return "decode";
  return inflight_ == &metrics_.inflight_prefill ? "prefill" : "reserve";
}

std::string OutcomeOf(const absl::Status& status, v1::FinishReason reason) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      break;
    case absl::StatusCode::kCancelled:
      return "cancelled";
    case absl::StatusCode::kDeadlineExceeded:
      return "deadline";
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnauthenticated:
      return "rejected";
    default:
      return "error";
  }
  switch (reason) {
    case v1::FINISH_REASON_LENGTH:
      return "length";
    case v1::FINISH_REASON_CANCELLED:
      return "cancelled";
    case v1::FINISH_REASON_TOOL_CALLS:
      return "tool_calls";
    default:
      return "stop";
  }
}

}  // namespace tandem
