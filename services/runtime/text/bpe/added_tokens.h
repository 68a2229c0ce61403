// SPDX-License-Identifier: Apache-2.0
// Finds the literal strings that a vocabulary lists as added tokens: leftmost, the longest of those
// that start together.
//
// Time: text length times the longest token, at worst. Thread-safe after construction. Source:
// specification 6.1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tandem {

// Bytes [begin, end) of a text.
struct ByteRange {
  size_t begin;
  size_t end;
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

struct AddedToken {
  int32_t id;
  std::string content;
  bool special;     // Left out of a decoded text when the caller asks so.
  bool normalized;  // Looked for after those that are not (Hugging Face's two passes).
};

class AddedTokenFinder final {
 public:
  struct Match {
    int32_t id;
    ByteRange range;
  };

  // No content may be empty.
  explicit AddedTokenFinder(absl::Span<const AddedToken> tokens);

  // The matches in `text`, ascending and disjoint. A match that shares a byte with one of `plain`
  // (ascending, disjoint, none empty) is none.
  std::vector<Match> Find(absl::string_view text, absl::Span<const ByteRange> plain) const;

 private:
  std::optional<Match> MatchAt(absl::string_view text, size_t begin) const;

  bool starts_[256] = {};  // Whether any token starts with this byte.
  absl::flat_hash_map<uint32_t, uint32_t>
      children_;              // Trie: node << 8 | byte to node; 0 is the root.
  std::vector<int32_t> ids_;  // [nodes]: the token that ends there, or -1.
};

}  // namespace tandem
