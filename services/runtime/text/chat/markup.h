// SPDX-License-Identifier: Apache-2.0
// The literal tokens and tags of DeepSeek-V4's prompts and completions. Source: specification 6.1
// to 6.4.
#pragma once

#include "absl/strings/string_view.h"

namespace tandem {

inline constexpr absl::string_view kBosToken = "<｜begin▁of▁sentence｜>";
inline constexpr absl::string_view kEosToken = "<｜end▁of▁sentence｜>";
inline constexpr absl::string_view kUserToken = "<｜User｜>";
inline constexpr absl::string_view kAssistantToken = "<｜Assistant｜>";
inline constexpr absl::string_view kLatestReminderToken = "<｜latest_reminder｜>";
inline constexpr absl::string_view kThinkStart = "<think>";
inline constexpr absl::string_view kThinkEnd = "</think>";

inline constexpr absl::string_view kDsmlToken = "｜DSML｜";
inline constexpr absl::string_view kDsmlOpen = "<｜DSML｜";    // Start of any opening tag.
inline constexpr absl::string_view kDsmlClose = "</｜DSML｜";  // Start of any closing tag.
inline constexpr absl::string_view kToolCallsOpen = "<｜DSML｜tool_calls>";
inline constexpr absl::string_view kToolCallsClose = "</｜DSML｜tool_calls>";
inline constexpr absl::string_view kInvokeOpen = "<｜DSML｜invoke";  // Attributes follow.
inline constexpr absl::string_view kInvokeClose = "</｜DSML｜invoke>";
inline constexpr absl::string_view kParameterOpen = "<｜DSML｜parameter";  // Attributes follow.
inline constexpr absl::string_view kParameterClose = "</｜DSML｜parameter>";

}  // namespace tandem
