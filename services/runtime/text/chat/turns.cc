// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/chat/turns.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace tandem {
namespace {

using CallOrder = absl::flat_hash_map<absl::string_view, size_t>;

// Sorts the tool results among `parts`; text keeps its place. Unknown ids count as the first
// call's.
void SortToolResults(const CallOrder& order, std::vector<const Message*>* parts) {
  std::vector<const Message*> results;
  for (const Message* part : *parts) {
    if (part->role == Role::kTool) results.push_back(part);
  }
  const auto rank = [&order](const Message* result) {
    const auto found = order.find(result->tool_call_id);
    return found == order.end() ? size_t{0} : found->second;
  };
  std::stable_sort(results.begin(), results.end(),
                   [&rank](const Message* a, const Message* b) { return rank(a) < rank(b); });
  auto next = results.begin();
  for (const Message*& part : *parts) {
    if (part->role == Role::kTool) part = *next++;
  }
}

}  // namespace

std::vector<Turn> MakeTurns(absl::Span<const Message> messages) {
  std::vector<Turn> turns;
  for (const Message& message : messages) {
    if (message.role != Role::kUser && message.role != Role::kTool) {
      turns.push_back({.message = &message, .role = message.role, .task = message.task});
      continue;
    }
    const bool joins = !turns.empty() && turns.back().role == Role::kUser &&
                       (message.role == Role::kTool || !turns.back().task.has_value());
    if (!joins) {
      turns.push_back({.message = &message, .role = Role::kUser});
      if (message.role == Role::kUser) turns.back().task = message.task;
    }
    turns.back().parts.push_back(&message);
  }
  CallOrder order;
  for (Turn& turn : turns) {
    if (turn.role == Role::kAssistant && !turn.message->tool_calls.empty()) {
      order.clear();
      for (size_t i = 0; i < turn.message->tool_calls.size(); ++i) {
        const std::string& id = turn.message->tool_calls[i].id;
        if (!id.empty()) order[id] = i;
      }
    } else if (turn.role == Role::kUser && !order.empty()) {
      SortToolResults(order, &turn.parts);
    }
  }
  return turns;
}

std::optional<size_t> LastUserTurn(absl::Span<const Turn> turns) {
  for (size_t i = turns.size(); i-- > 0;) {
    if (turns[i].role == Role::kUser || turns[i].role == Role::kDeveloper) return i;
  }
  return std::nullopt;
}

std::vector<Turn> WithoutOldDeveloperTurns(std::vector<Turn> turns) {
  const size_t last = LastUserTurn(turns).value_or(0);
  std::vector<Turn> kept;
  for (size_t i = 0; i < turns.size(); ++i) {
    if (i >= last || turns[i].role != Role::kDeveloper) kept.push_back(std::move(turns[i]));
  }
  return kept;
}

}  // namespace tandem
