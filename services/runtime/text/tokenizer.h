// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back, identical to Hugging Face tokenizers for byte-level BPE files
// (DeepSeek's).
//
// Encode: added tokens are cut out (leftmost, longest), the rest is pre-tokenised and each piece
// byte-pair encoded; nothing is put in front or behind. n log n time for any text. Invalid UTF-8 is
// read as U+FFFD (see bpe/utf8.h), never refused. All methods are const and thread-safe; views they
// return live as long as the tokenizer. Source: specification 6.1.
//
// Added tokens in a user's words: the released stack turns "<｜User｜>" inside a message into the
// control token, so that a user can forge turns. EncodeOptions::plain takes the ranges that
// ChatPrompt::user_text gives and keeps them text. We propose that as the router's default: for
// text without such strings the ids are equal.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/runtime/text/bpe/added_tokens.h"
#include "services/runtime/text/bpe/bpe.h"
#include "services/runtime/text/bpe/pre_tokenizer.h"
#include "services/runtime/text/bpe/tokenizer_file.h"

namespace tandem {

struct EncodeOptions {
  bool parse_added_tokens = true;  // False: the whole text is plain.
  absl::Span<const ByteRange> plain =
      {};  // Bytes where no added token is looked for; ascending, disjoint.
};

struct DecodeOptions {
  bool skip_special = false;  // Leaves out tokens that the file marks as special.
};

class Tokenizer final {
 public:
  // NOT_FOUND for an unreadable file, INVALID_ARGUMENT for one that this class can not run exactly
  // (the field is named).
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromFile(const std::string& path);
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(absl::string_view json_text);

  // INVALID_ARGUMENT only for `plain` ranges that do not fit `text`, or given with text that is not
  // valid UTF-8; RESOURCE_EXHAUSTED where a split pattern's backtracking passes PCRE2's limits
  // (DeepSeek's patterns never do).
  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text,
                                              const EncodeOptions& options = {}) const;

  // Valid UTF-8: what is not becomes U+FFFD. Ids without a token give nothing.
  std::string Decode(absl::Span<const int32_t> ids, const DecodeOptions& options = {}) const;

  // The bytes of one token, perhaps a part of a character; empty for an id without a token, any
  // integer included.
  absl::string_view TokenBytes(int32_t id) const;

  // The token whose bytes are `bytes`; an added token goes before one of the vocabulary.
  std::optional<int32_t> TokenId(absl::string_view bytes) const;

  // Whether the file marks the token as special (BOS, EOS, …; not <think> nor role markers).
  bool IsSpecial(int32_t id) const;

  // One past the greatest id.
  int32_t vocab_size() const { return static_cast<int32_t>(id_to_bytes_.size()); }

 private:
  struct Parts;
  explicit Tokenizer(Parts parts);

  absl::Status EncodePlain(absl::string_view text, std::vector<int32_t>* ids) const;
  absl::Status EncodeWithAdded(absl::string_view text, size_t pass, std::vector<ByteRange> plain,
                               std::vector<int32_t>* ids) const;

  PreTokenizer pre_tokenizer_;
  std::vector<std::string> id_to_bytes_;
  std::vector<bool> special_;
  absl::flat_hash_map<absl::string_view, int32_t> bytes_to_id_;  // Views into id_to_bytes_.
  std::vector<AddedTokenFinder> added_;  // One for each of Hugging Face's passes.
  Bpe bpe_;
};

}  // namespace tandem
