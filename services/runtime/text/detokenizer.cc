// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/detokenizer.h"

namespace tandem {

std::string Detokenizer::Push(int32_t id) {
  std::string text;
  if (!options_.skip_special || !tokenizer_->IsSpecial(id)) {
    sanitizer_.Append(tokenizer_->TokenBytes(id), &text);
  }
  return text;
}

std::string Detokenizer::Flush() {
  std::string text;
  sanitizer_.Finish(&text);
  return text;
}

}  // namespace tandem
