// SPDX-License-Identifier: Apache-2.0
// JSON read and written as Python's json module does: the released encoder puts json.dumps(x,
// ensure_ascii=False) in prompts.
//
// Key order is kept, a repeated key keeps its first place and last value, integers keep all digits,
// floats are written as repr does (1.0, 1e-07, 1e+16). Not read, unlike Python: NaN, Infinity,
// numbers past a double, lone surrogates. Limits: kMaxJsonDepth levels, kMaxJsonKeys keys in one
// object (an ordered object looks keys up one by one).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tandem {

using OrderedJson = nlohmann::ordered_json;

inline constexpr int kMaxJsonDepth = 64;
inline constexpr int kMaxJsonKeys = 1024;

// INVALID_ARGUMENT for what is not one JSON value or passes a limit.
absl::StatusOr<OrderedJson> ParseJson(absl::string_view text);

// json.dumps(value, ensure_ascii=False). `value` comes from ParseJson.
std::string PythonDumps(const OrderedJson& value);

// The inside of a JSON string, without its quotes; byte by byte, so that parts can be escaped one
// after another.
std::string EscapeJson(absl::string_view text);

}  // namespace tandem
