// SPDX-License-Identifier: Apache-2.0
// Token ids to text as they come: every returned part is whole characters of valid UTF-8.
//
// The parts of any stream, and Flush at its end, make up Tokenizer::Decode of the whole stream.
// Constant time a token (amortised, by its bytes). One object a stream; it borrows the tokenizer.
// Source: specification 6.1.
#pragma once

#include <cstdint>
#include <string>

#include "services/runtime/text/bpe/utf8.h"
#include "services/runtime/text/tokenizer.h"

namespace tandem {

class Detokenizer final {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer, const DecodeOptions& options = {})
      : tokenizer_(&tokenizer), options_(options) {}

  // The characters that `id` finishes; may be empty. An id without a token gives nothing.
  std::string Push(int32_t id);

  // At the end of the stream: U+FFFD for an unfinished character, else nothing.
  std::string Flush();

 private:
  const Tokenizer* tokenizer_;
  DecodeOptions options_;
  Utf8Sanitizer sanitizer_;
};

}  // namespace tandem
