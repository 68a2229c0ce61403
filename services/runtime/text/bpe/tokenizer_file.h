// SPDX-License-Identifier: Apache-2.0
// Reads Hugging Face's tokenizer.json, and only what this folder can run: byte-level BPE without
// normaliser.
//
// Accepted: pre_tokenizer = Sequence of Split (Regex, Isolated, not inverted) ended by ByteLevel
// (no prefix space, no regex); decoder and post_processor ByteLevel; added tokens without strip or
// single_word. Every other field or value is INVALID_ARGUMENT with its path, its value and what is
// supported: a vocabulary is never half understood.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/runtime/text/bpe/added_tokens.h"

namespace tandem {

struct TokenizerFile {
  std::vector<std::string> split_patterns;  // Oniguruma's dialect.
  std::vector<std::pair<std::string, int32_t>>
      vocabulary;  // In the byte alphabet; contents and ids distinct.
  std::vector<std::pair<std::string, std::string>> merges;  // By rank.
  std::vector<AddedToken> added_tokens;  // Contents and ids distinct, contents not empty.
};

// Ids lie in [0, kMaxVocabulary).
inline constexpr int32_t kMaxVocabulary = 1 << 20;

absl::StatusOr<TokenizerFile> ParseTokenizerFile(absl::string_view json_text);

}  // namespace tandem
