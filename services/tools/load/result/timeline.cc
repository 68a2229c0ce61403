// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/result/timeline.h"

#include <algorithm>
#include <optional>

namespace tandem {
namespace {

size_t IndexAt(absl::Duration at, absl::Duration step) {
  absl::Duration rest;
  return static_cast<size_t>(absl::IDivDuration(std::max(at, absl::ZeroDuration()), step, &rest));
}

std::optional<absl::Duration> QuantileOf(const LatencyHistogram& histogram, double q) {
  if (histogram.empty()) return std::nullopt;
  return absl::Trunc(histogram.Quantile(q), absl::Microseconds(1));
}

}  // namespace

void TimelineBuilder::Step::Merge(const Step& other) {
  sent += other.sent;
  finished += other.finished;
  errors += other.errors;
  ended += other.ended;
  tokens += other.tokens;
  ttft.Merge(other.ttft);
  gap.Merge(other.gap);
}

void TimelineBuilder::Coarsen() {
  step_ *= 2;
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (i % 2 == 1) {
      steps_[i / 2].Merge(steps_[i]);
    } else if (i > 0) {
      steps_[i / 2] = std::move(steps_[i]);
    }
  }
  steps_.resize((steps_.size() + 1) / 2);
}

TimelineBuilder::Step& TimelineBuilder::At(absl::Duration at) {
  while (IndexAt(at, step_) >= kPointsMax) Coarsen();
  const size_t index = IndexAt(at, step_);
  if (index >= steps_.size()) steps_.resize(index + 1);
  return steps_[index];
}

void TimelineBuilder::OnSend(absl::Duration at) {
  ++At(at).sent;
}

void TimelineBuilder::OnChunk(const ChunkRecord& chunk) {
  Step& step = At(chunk.at);
  step.tokens += chunk.tokens;
  const size_t second = IndexAt(chunk.at, absl::Seconds(1));
  if (second >= tokens_by_second_.size()) tokens_by_second_.resize(second + 1);
  tokens_by_second_[second] += chunk.tokens;
  if (chunk.gap && chunk.tokens > 0 && chunk.measured) {
    step.gap.Record(*chunk.gap / chunk.tokens, chunk.tokens);
  }
}

void TimelineBuilder::OnRequest(const RequestRecord& request) {
  Step& step = At(request.end);
  const bool ok = request.code == absl::StatusCode::kOk;
  ++step.ended;
  step.finished += ok ? 1 : 0;
  step.errors += !ok && !IsNasty(request.kind) ? 1 : 0;
  if (request.first_token && !IsNasty(request.kind)) {
    At(*request.first_token).ttft.Record(*request.first_token - request.scheduled);
  }
}

void TimelineBuilder::Merge(const TimelineBuilder& other) {
  if (other.steps_.empty()) return;
  TimelineBuilder theirs = other;
  while (theirs.step_ < step_) theirs.Coarsen();
  while (step_ < theirs.step_) Coarsen();
  steps_.resize(std::max(steps_.size(), theirs.steps_.size()));
  for (size_t i = 0; i < theirs.steps_.size(); ++i) steps_[i].Merge(theirs.steps_[i]);
  tokens_by_second_.resize(std::max(tokens_by_second_.size(), theirs.tokens_by_second_.size()));
  for (size_t i = 0; i < theirs.tokens_by_second_.size(); ++i) {
    tokens_by_second_[i] += theirs.tokens_by_second_[i];
  }
}

uint64_t TimelineBuilder::TokensPerSecondMax() const {
  const auto most = std::max_element(tokens_by_second_.begin(), tokens_by_second_.end());
  return most == tokens_by_second_.end() ? 0 : *most;
}

std::vector<TimelinePoint> TimelineBuilder::Points() const {
  std::vector<TimelinePoint> points;
  uint64_t running = 0;
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    running += step.sent;
    running -= std::min(running, step.ended);
    points.push_back({.start = step_ * static_cast<int64_t>(i),
                      .sent = step.sent,
                      .finished = step.finished,
                      .errors = step.errors,
                      .tokens = step.tokens,
                      .running = running,
                      .ttft_p50 = QuantileOf(step.ttft, 0.5),
                      .ttft_p99 = QuantileOf(step.ttft, 0.99),
                      .gap_p50 = QuantileOf(step.gap, 0.5)});
  }
  return points;
}

}  // namespace tandem
