// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/scheduler/decode_scheduler.h"

#include <algorithm>
#include <utility>

#include "services/runtime/base/check.h"

namespace tandem {

DecodeScheduler::DecodeScheduler(int batch_max) : batch_max_(batch_max) {
  CHECK_GT(batch_max, 0);
}

std::optional<EndReason> DecodeScheduler::EndOf(const Sequence& sequence, int32_t token) {
  const std::vector<int32_t>& stops = sequence.criteria.stop_tokens;
  if (std::find(stops.begin(), stops.end(), token) != stops.end()) return EndReason::kStop;
  if (sequence.tokens >= sequence.criteria.tokens_max) return EndReason::kLength;
  return std::nullopt;
}

std::optional<EndReason> DecodeScheduler::Add(SequenceId id, EndCriteria criteria,
                                              int32_t first_token) {
  Sequence sequence{.id = id, .criteria = std::move(criteria), .tokens = 1};
  const std::optional<EndReason> end = EndOf(sequence, first_token);
  if (!end.has_value()) sequences_.push_back(std::move(sequence));
  return end;
}

bool DecodeScheduler::Remove(SequenceId id) {
  return std::erase_if(sequences_, [id](const Sequence& sequence) { return sequence.id == id; }) >
         0;
}

std::vector<SequenceId> DecodeScheduler::Next() const {
  std::vector<SequenceId> ids;
  for (const Sequence& sequence : sequences_) {
    if (static_cast<int>(ids.size()) == batch_max_) break;
    ids.push_back(sequence.id);
  }
  return ids;
}

std::optional<EndReason> DecodeScheduler::Advance(SequenceId id, int32_t token) {
  const auto it = std::find_if(sequences_.begin(), sequences_.end(),
                               [id](const Sequence& sequence) { return sequence.id == id; });
  CHECK(it != sequences_.end());
  Sequence sequence = std::move(*it);
  sequences_.erase(it);
  ++sequence.tokens;
  const std::optional<EndReason> end = EndOf(sequence, token);
  if (!end.has_value()) sequences_.push_back(std::move(sequence));
  return end;
}

}  // namespace tandem
