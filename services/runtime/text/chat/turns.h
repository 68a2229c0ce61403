// SPDX-License-Identifier: Apache-2.0
// From messages to the turns that are rendered: tool results go into user turns, old reasoning goes
// out.
//
// Source: specification 6.2, "Preprocessing". Pure functions; turns borrow their messages.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "services/runtime/text/chat/message.h"

namespace tandem {

struct Turn {
  // The message whose fields are rendered; of a user turn, the first of those merged into it.
  const Message* message;
  Role role;  // Never kTool.
  std::vector<const Message*>
      parts;                 // User turn: user and tool messages in the order of rendering.
  std::optional<Task> task;  // Of the message that opened the turn.
};

// Tool messages become parts of user turns; neighbouring user and tool messages make one turn,
// which a user message with a task ends. Tool results within a turn stand in the order of the calls
// they answer.
std::vector<Turn> MakeTurns(absl::Span<const Message> messages);

// The index of the last user or developer turn; nothing if there is none.
std::optional<size_t> LastUserTurn(absl::Span<const Turn> turns);

// Removes developer turns before the last user turn (drop_thinking).
std::vector<Turn> WithoutOldDeveloperTurns(std::vector<Turn> turns);

}  // namespace tandem
