// SPDX-License-Identifier: Apache-2.0
// Splits a completion, as it streams in, into reasoning, answer and tool calls; no markup ever
// reaches any of them.
//
// Grammar (specification 6.4): in thinking mode reasoning up to </think>; content; perhaps "\n\n"
// and a DSML block of calls; the end (EOS token, whose text may or may not be in the stream). Feed
// text in any cuts: the joined deltas do not depend on them. If every delta fed is whole
// characters, so is every delta given. Linear time; holds back only what may be markup.
//
// What breaks the grammar can not be taken back, so the parser goes on as well as it can and
// fault() tells the first breach:
//   stray tokens (<think>, </think>, BOS, DSML tags out of place) are dropped, with a stray tag's
//   inside up to ">"; a block without the blank line, or inside the reasoning, and a bare
//   <｜DSML｜invoke are taken as calls; a malformed block is dropped from the breach to its end tag
//   (a call begun before stays begun); text after a block is content; text after EOS is dropped.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/runtime/text/chat_encoding.h"

namespace tandem {

struct ToolCallDelta {
  int index;              // Of the call, from 0.
  std::string name;       // In the call's first delta only.
  std::string arguments;  // The next part of a JSON object's text.
};

struct CompletionDelta {
  std::string reasoning;
  std::string content;
  std::vector<ToolCallDelta> tool_calls;  // At most one an index.
};

// Calls that are whole, and what came of the rest.
struct ToolCallCounts {
  int parsed = 0;     // as the grammar has them
  int repaired = 0;   // out of place, and taken
  int malformed = 0;  // blocks that broke the grammar, or ended too early
};

class StreamParser final {
 public:
  explicit StreamParser(ThinkingMode mode);
  StreamParser(StreamParser&&) noexcept;
  StreamParser& operator=(StreamParser&&) noexcept;
  ~StreamParser();

  CompletionDelta Append(absl::string_view text);
  // At the end: what was held back.
  CompletionDelta Finish();

  // Whether the next byte would be reasoning, as far as is known (for counting reasoning tokens).
  bool in_reasoning() const;
  bool saw_eos() const;
  // The first breach of the grammar; empty if there was none. A missing EOS is none.
  const std::string& fault() const;
  // Whole only after Finish.
  const ToolCallCounts& calls() const;

 private:
  class Machine;
  std::unique_ptr<Machine> machine_;
};

}  // namespace tandem
