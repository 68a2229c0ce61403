// SPDX-License-Identifier: Apache-2.0
// UTF-8 with any bytes as input: checking, and replacing what is broken by U+FFFD.
//
// A broken sequence counts as its maximal subpart (Unicode 15 section 3.9, WHATWG Encoding, Rust's
// from_utf8_lossy): one U+FFFD for each longest prefix of a valid sequence, else for each byte.
// Linear time; values, no sharing.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace tandem {

bool IsValidUtf8(absl::string_view text);

// `bytes` with every broken sequence replaced.
std::string SanitizeUtf8(absl::string_view bytes);

// The same for bytes that come in parts: what Append and Finish write, in order, is SanitizeUtf8 of
// all bytes. A character is written when its last byte has come; at most three bytes wait.
class Utf8Sanitizer final {
 public:
  void Append(absl::string_view bytes, std::string* out);
  // Writes U+FFFD for an unfinished character. The object is then as new.
  void Finish(std::string* out);

 private:
  std::string waiting_;
};

}  // namespace tandem
