// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding of one piece: starting from bytes, the lowest-ranked adjacent pair is merged,
// the leftmost of equals, until no pair has a rank.
//
// n bytes take O(n log n) time. Pieces that are one token as a whole (most words) are found in a
// table instead. Thread-safe after construction. Source: specification 6.1.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tandem {

struct BpeMerge {
  int32_t left;
  int32_t right;
  int32_t result;
};

struct BpeSpec {
  std::array<int32_t, 256> byte_ids;          // The token of each single byte.
  std::vector<BpeMerge> merges;               // A merge's rank is its index.
  absl::Span<const std::string> id_to_bytes;  // [vocabulary]; read in the constructor only.
};

class Bpe final {
 public:
  explicit Bpe(const BpeSpec& spec);

  // Appends the ids of `piece`.
  void Encode(absl::string_view piece, std::vector<int32_t>* ids) const;

 private:
  struct Merged {
    uint32_t rank;
    int32_t id;
  };
  class Merger;

  void EncodeByMerging(absl::string_view piece, std::vector<int32_t>* ids) const;

  std::array<int32_t, 256> byte_ids_;
  absl::flat_hash_map<uint64_t, Merged> merges_;     // Key: left id, right id.
  absl::flat_hash_map<std::string, int32_t> whole_;  // Pieces whose encoding is one token.
  size_t longest_whole_ = 0;
};

}  // namespace tandem
