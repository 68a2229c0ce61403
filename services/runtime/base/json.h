// SPDX-License-Identifier: Apache-2.0
// JSON of files that nobody vouches for. Depth is bounded before anything is built: copying,
// printing or comparing a value goes down its levels on the stack. Pure function; thread-safe.
#pragma once

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace tandem {

// Levels of lists and objects in each other; real files have about ten.
inline constexpr int kFileJsonDepthMax = 64;

// A discarded value (is_discarded()) if `text` is no JSON, or is deeper than that.
nlohmann::json ParseFileJson(absl::string_view text);

}  // namespace tandem
