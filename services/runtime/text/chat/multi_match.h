// SPDX-License-Identifier: Apache-2.0
// Looks for any of several strings in a text that comes in parts, and lets through at once what can
// not belong to one.
//
// The match that ends first counts, and of those that end together the longest: both are known when
// the last byte comes, so that cutting the text differently changes nothing. Aho-Corasick
// automaton: linear time whatever the strings and the text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace tandem {

// The strings. Thread-safe after construction.
class MultiMatch final {
 public:
  // No string may be empty.
  explicit MultiMatch(std::vector<std::string> strings);

  const std::string& string(int index) const { return strings_[index]; }

 private:
  friend class MultiMatchStream;

  struct Node {
    uint32_t fail = 0;   // The node of the longest proper suffix that starts some string.
    uint32_t depth = 0;  // Bytes.
    int match = -1;      // The longest string that ends here.
  };

  uint32_t Next(uint32_t node, char byte) const;

  std::vector<std::string> strings_;
  std::vector<Node> nodes_;                           // 0 is the root.
  absl::flat_hash_map<uint64_t, uint32_t> children_;  // Key: node << 8 | byte.
};

// One text. Borrows the strings.
class MultiMatchStream final {
 public:
  explicit MultiMatchStream(const MultiMatch& strings) : strings_(&strings) {}

  struct Step {
    size_t consumed;           // Bytes of the input read: up to the end of the match, else all.
    std::optional<int> match;  // Index of the string found.
  };

  // Reads `input` up to the first match and appends to `passed` what is certainly part of none.
  // After a match the search starts afresh with the next byte.
  Step Read(absl::string_view input, std::string* passed);

  // At the end: appends what was held back.
  void Flush(std::string* passed);

 private:
  const MultiMatch* strings_;
  uint32_t node_ = 0;
  std::string held_;  // held_[begin_, …) is the node's string: the start of a possible match.
  size_t begin_ = 0;
};

}  // namespace tandem
