// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/base/json.h"

namespace tandem {
namespace {

// Counts brackets outside of strings; what is no JSON may be judged either way, the parser refuses
// it.
bool TooDeep(absl::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kFileJsonDepthMax) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace

nlohmann::json ParseFileJson(absl::string_view text) {
  using Json = nlohmann::json;
  if (TooDeep(text)) return Json(Json::value_t::discarded);
  return Json::parse(text.begin(), text.end(), /*cb=*/nullptr, /*allow_exceptions=*/false);
}

}  // namespace tandem
