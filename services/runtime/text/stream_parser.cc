// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/stream_parser.h"

#include <initializer_list>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/runtime/text/chat/markup.h"
#include "services/runtime/text/chat/multi_match.h"
#include "services/runtime/text/chat/python_json.h"

namespace tandem {
namespace {

constexpr size_t kMaxHeadBytes = 4096;  // Of a tag's attributes.
constexpr size_t kMaxStrayBytes = 256;  // Of a stray tag; what is longer is text again.
constexpr absl::string_view kBlankLine = "\n\n";

// Markup that ends a run of plain text. The DSML token is listed with all that may come before it:
// the longest one matches.
enum TextMarker {
  kBlankLineDsml,
  kDsmlStart,
  kDsmlEndStart,
  kBareDsml,
  kEos,
  kBos,
  kThink,
  kThinkOver
};
const MultiMatch& TextMarkers() {
  static const MultiMatch* const markers =
      new MultiMatch({absl::StrCat(kBlankLine, kDsmlOpen), std::string(kDsmlOpen),
                      std::string(kDsmlClose), std::string(kDsmlToken), std::string(kEosToken),
                      std::string(kBosToken), std::string(kThinkStart), std::string(kThinkEnd)});
  return *markers;
}

// A parameter's value ends where the released parser ends it, which then insists on the "<".
enum ValueMarker { kValueEnd, kValueEndWithoutBracket };
const MultiMatch& ValueMarkers() {
  const absl::string_view tag = kParameterClose.substr(0, kParameterClose.size() - 1);
  static const MultiMatch* const markers =
      new MultiMatch({std::string(tag), std::string(tag.substr(1))});
  return *markers;
}

enum BrokenMarker { kBlockEnd, kBrokenEos };
const MultiMatch& BrokenMarkers() {
  static const MultiMatch* const markers =
      new MultiMatch({std::string(kToolCallsClose), std::string(kEosToken)});
  return *markers;
}

}  // namespace

class StreamParser::Machine final {
 public:
  explicit Machine(ThinkingMode mode)
      : state_(mode == ThinkingMode::kThinking ? State::kReasoning : State::kContent),
        text_state_(state_) {}

  void Read(absl::string_view text, CompletionDelta* delta) {
    delta_ = delta;
    while (!text.empty()) text.remove_prefix(Step(text));
  }

  void Finish(CompletionDelta* delta) {
    delta_ = delta;
    if (IsText()) {
      std::string held;
      text_.Flush(&held);
      EmitText(held);
      if (state_ == State::kReasoning) Fault("the reasoning has no end");
    } else if (state_ != State::kDone) {
      Fault("it ends inside DSML markup");
      if (InBlock()) ++calls_.malformed;
    }
  }

  bool in_reasoning() const { return state_ == State::kReasoning; }
  bool saw_eos() const { return state_ == State::kDone; }
  const std::string& fault() const { return fault_; }
  const ToolCallCounts& calls() const { return calls_; }

 private:
  enum class State {
    kReasoning,
    kContent,
    kTagName,      // After the DSML token within text.
    kStrayTag,     // Drops up to ">".
    kBlockOpened,  // Between "<DSML tool_calls" and the first call.
    kCallOrEnd,    // Before a call or the block's end.
    kInvokeHead,   // Attributes of a call.
    kFirstParameter,
    kParameterOrEnd,
    kParameterHead,  // Attributes of a parameter.
    kValue,
    kValueClosed,  // After "</DSML parameter".
    kCallClosed,   // After "</DSML invoke>".
    kBroken,       // Drops up to the block's end.
    kDone
  };

  bool InBlock() const { return state_ >= State::kBlockOpened && state_ <= State::kCallClosed; }
  bool IsText() const { return state_ == State::kReasoning || state_ == State::kContent; }

  void Fault(absl::string_view what) {
    if (fault_.empty()) fault_ = std::string(what);
  }

  // Reads a start of `text`, which is not empty; returns how many bytes. Zero only with a change of
  // state.
  size_t Step(absl::string_view text) {
    switch (state_) {
      case State::kReasoning:
      case State::kContent:
        return ReadText(text);
      case State::kTagName:
        return ReadTagName(text[0]);
      case State::kValue:
        return ReadValue(text);
      case State::kBroken:
        return ReadBroken(text);
      case State::kDone:
        Fault("text after the end-of-sentence token");
        return text.size();
      default:
        ReadGrammar(text[0]);
        return 1;
    }
  }

  // --- Text ---

  void EmitText(absl::string_view text) {
    if (text.empty()) return;
    if (after_block_) Fault("text after the tool calls");
    (text_state_ == State::kReasoning ? delta_->reasoning : delta_->content)
        .append(text.data(), text.size());
  }

  size_t ReadText(absl::string_view text) {
    std::string passed;
    const MultiMatchStream::Step step = text_.Read(text, &passed);
    EmitText(passed);
    if (step.match.has_value()) MeetMarker(static_cast<TextMarker>(*step.match));
    return step.consumed;
  }

  void MeetMarker(TextMarker marker) {
    switch (marker) {
      case kEos:
        if (state_ == State::kReasoning) Fault("the reasoning has no end");
        state_ = State::kDone;
        return;
      case kThinkOver:
        if (state_ == State::kReasoning) {
          state_ = text_state_ = State::kContent;
          return;
        }
        [[fallthrough]];
      case kThink:
      case kBos:
      case kBareDsml:
        Fault("a special token inside the text");
        return;
      case kBlankLineDsml:
      case kDsmlStart:
      case kDsmlEndStart:
        tag_start_ = marker;
        pending_.clear();
        state_ = State::kTagName;
    }
  }

  // Gathers the name; the byte after it is read again in the next state.
  size_t ReadTagName(char byte) {
    if ((absl::ascii_islower(byte) || byte == '_') && pending_.size() < kMaxStrayBytes) {
      pending_.push_back(byte);
      return 1;
    }
    const std::string name = std::exchange(pending_, "");
    const bool is_block = tag_start_ != kDsmlEndStart && name == "tool_calls";
    const bool is_call = tag_start_ != kDsmlEndStart && name == "invoke";
    const bool bare = !is_block || tag_start_ != kBlankLineDsml;
    if (bare) Fault("DSML markup out of place");
    if (text_state_ == State::kReasoning) Fault("tool calls inside the reasoning");
    if (after_block_) Fault("a second block of tool calls");
    misplaced_ = bare || text_state_ == State::kReasoning || after_block_;
    if (is_block || is_call) {
      text_state_ = State::kContent;
      state_ = is_block ? State::kBlockOpened : State::kInvokeHead;
    } else {
      if (tag_start_ == kBlankLineDsml) EmitText(kBlankLine);
      state_ = State::kStrayTag;
    }
    return 0;
  }

  // --- The block: pending_ holds the bytes of the current element ---

  void ReadGrammar(char byte) {
    pending_.push_back(byte);
    switch (state_) {
      case State::kStrayTag:
        if (byte == '>' || pending_.size() == kMaxStrayBytes) Enter(text_state_);
        return;
      case State::kBlockOpened:
      case State::kCallClosed:
        return Expect({{state_ == State::kBlockOpened ? ">\n" : "\n", State::kCallOrEnd}});
      case State::kCallOrEnd:
        return Expect({{kInvokeOpen, State::kInvokeHead}, {kToolCallsClose, State::kContent}});
      case State::kFirstParameter:
        // The released writer leaves an empty line in a call without parameters, and its parser
        // skips one here.
        if (pending_ == "\n") return Enter(State::kParameterOrEnd);
        [[fallthrough]];
      case State::kParameterOrEnd:
        return Expect(
            {{kParameterOpen, State::kParameterHead}, {kInvokeClose, State::kCallClosed}});
      case State::kValueClosed:
        return Expect({{">\n", State::kParameterOrEnd}});
      case State::kInvokeHead:
        return ReadInvokeHead();
      default:
        return ReadParameterHead();
    }
  }

  struct Choice {
    absl::string_view literal;
    State next;
  };

  // pending_ must become one of the literals, of which none starts another.
  void Expect(std::initializer_list<Choice> choices) {
    for (const Choice& choice : choices) {
      if (!absl::StartsWith(choice.literal, pending_)) continue;
      if (pending_.size() == choice.literal.size()) Enter(choice.next);
      return;
    }
    Break("malformed tool calls");
  }

  void Enter(State next) {
    if (state_ == State::kCallOrEnd && next == State::kContent) after_block_ = true;
    if (next == State::kCallClosed) {
      EmitArguments("}");
      ++(misplaced_ ? calls_.repaired : calls_.parsed);
    }
    pending_.clear();
    state_ = next;
  }

  // What is pending may hold the start of the block's end.
  void Break(absl::string_view why) {
    Fault(why);
    ++calls_.malformed;
    state_ = State::kBroken;
    broken_ = MultiMatchStream(BrokenMarkers());
    const std::string again = std::exchange(pending_, "");
    absl::string_view rest = again;
    while (!rest.empty()) rest.remove_prefix(Step(rest));
  }

  bool HeadIsBroken() {
    if (pending_.size() <= kMaxHeadBytes && !absl::EndsWith(pending_, kDsmlToken)) return false;
    Break("malformed tag");
    return true;
  }

  void ReadInvokeHead() {
    if (HeadIsBroken() || !absl::EndsWith(pending_, "\">\n")) return;
    absl::string_view head = absl::StripLeadingAsciiWhitespace(pending_);
    if (!absl::ConsumePrefix(&head, "name=\"") || head.size() < 3) return Break("malformed name");
    head.remove_suffix(3);
    parameters_.clear();
    delta_->tool_calls.push_back({.index = ++call_, .name = std::string(head), .arguments = "{"});
    Enter(State::kFirstParameter);
  }

  void ReadParameterHead() {
    if (HeadIsBroken()) return;
    absl::string_view head = pending_;
    const bool is_string = absl::ConsumeSuffix(&head, "\" string=\"true\">");
    if (!is_string && !absl::ConsumeSuffix(&head, "\" string=\"false\">")) return;
    if (!absl::ConsumePrefix(&head, " name=\"")) return Break("malformed parameter");
    if (parameters_.contains(head)) return Break("a parameter twice in one call");
    EmitArguments(absl::StrCat(parameters_.empty() ? "\"" : ", \"", EscapeJson(head),
                               "\": ", is_string ? "\"" : ""));
    parameters_.insert(std::string(head));
    value_is_string_ = is_string;
    value_ = MultiMatchStream(ValueMarkers());
    Enter(State::kValue);
  }

  size_t ReadValue(absl::string_view text) {
    std::string passed;
    const MultiMatchStream::Step step = value_.Read(text, &passed);
    EmitArguments(value_is_string_ ? EscapeJson(passed) : passed);
    if (step.match == kValueEnd) {
      if (value_is_string_) EmitArguments("\"");
      Enter(State::kValueClosed);
    } else if (step.match == kValueEndWithoutBracket) {
      Break("malformed end of a parameter");
    }
    return step.consumed;
  }

  size_t ReadBroken(absl::string_view text) {
    std::string dropped;
    const MultiMatchStream::Step step = broken_.Read(text, &dropped);
    if (step.match == kBlockEnd) {
      after_block_ = true;
      Enter(State::kContent);
    } else if (step.match == kBrokenEos) {
      Enter(State::kDone);
    }
    return step.consumed;
  }

  void EmitArguments(absl::string_view text) {
    if (text.empty()) return;
    if (delta_->tool_calls.empty() || delta_->tool_calls.back().index != call_) {
      delta_->tool_calls.push_back({.index = call_});
    }
    delta_->tool_calls.back().arguments.append(text.data(), text.size());
  }

  CompletionDelta* delta_ = nullptr;  // Of the call in progress.
  State state_;
  State text_state_;  // kReasoning or kContent: where text goes.
  MultiMatchStream text_{TextMarkers()};
  MultiMatchStream value_{ValueMarkers()};
  MultiMatchStream broken_{BrokenMarkers()};
  std::string pending_;
  TextMarker tag_start_ = kDsmlStart;
  bool after_block_ = false;
  bool misplaced_ = false;  // the block that is read, or the last one
  ToolCallCounts calls_;
  int call_ = -1;
  absl::flat_hash_set<std::string> parameters_;  // Of the call.
  bool value_is_string_ = false;
  std::string fault_;
};

StreamParser::StreamParser(ThinkingMode mode) : machine_(std::make_unique<Machine>(mode)) {}
StreamParser::StreamParser(StreamParser&&) noexcept = default;
StreamParser& StreamParser::operator=(StreamParser&&) noexcept = default;
StreamParser::~StreamParser() = default;

CompletionDelta StreamParser::Append(absl::string_view text) {
  CompletionDelta delta;
  machine_->Read(text, &delta);
  return delta;
}

CompletionDelta StreamParser::Finish() {
  CompletionDelta delta;
  machine_->Finish(&delta);
  return delta;
}

bool StreamParser::in_reasoning() const {
  return machine_->in_reasoning();
}
bool StreamParser::saw_eos() const {
  return machine_->saw_eos();
}
const std::string& StreamParser::fault() const {
  return machine_->fault();
}
const ToolCallCounts& StreamParser::calls() const {
  return machine_->calls();
}

}  // namespace tandem
