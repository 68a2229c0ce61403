// SPDX-License-Identifier: Apache-2.0
// The alphabet in which byte-level vocabularies are written: one printable character for each byte
// (GPT-2's table).
//
// Bytes that are printable in Latin-1 stand for themselves; the other 68, in ascending order, are
// U+0100, U+0101, … (so a space is U+0120). Source: specification 6.1.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace tandem {

// The character that stands for `byte`, in UTF-8.
std::string AlphabetCharacter(uint8_t byte);

// The bytes that `token` stands for; a token with any character outside the alphabet stands for its
// own UTF-8.
std::string BytesOfToken(absl::string_view token);

}  // namespace tandem
