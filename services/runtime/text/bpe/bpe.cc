// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/bpe/bpe.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "services/runtime/base/check.h"

namespace tandem {
namespace {

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

// One piece as a linked list of symbols, and a heap of the merges that may still happen in it.
class Bpe::Merger final {
 public:
  Merger(const Bpe& bpe, absl::string_view piece) : bpe_(bpe) {
    const int32_t size = static_cast<int32_t>(piece.size());
    symbols_.reserve(piece.size());
    candidates_.reserve(piece.size());
    for (int32_t i = 0; i < size; ++i) {
      const int32_t id = bpe.byte_ids_[static_cast<uint8_t>(piece[i])];
      symbols_.push_back({.id = id, .previous = i - 1, .next = i + 1 < size ? i + 1 : kNone});
    }
    for (int32_t i = 0; i + 1 < size; ++i) AddCandidate(i);
    std::make_heap(candidates_.begin(), candidates_.end(), std::greater<>());
  }

  void Run() {
    while (!candidates_.empty()) {
      std::pop_heap(candidates_.begin(), candidates_.end(), std::greater<>());
      const uint64_t candidate = candidates_.back();
      candidates_.pop_back();
      MergeAt(static_cast<int32_t>(candidate & UINT32_MAX), static_cast<uint32_t>(candidate >> 32));
    }
  }

  void AppendIds(std::vector<int32_t>* ids) const {
    for (int32_t i = 0; i != kNone; i = symbols_[i].next) ids->push_back(symbols_[i].id);
  }

 private:
  static constexpr int32_t kNone = -1;
  static constexpr int32_t kGone =
      -1;  // The id of a symbol that was merged into its left neighbour.

  struct Symbol {
    int32_t id;
    int32_t previous;
    int32_t next;
  };

  const Merged* Find(int32_t at) const {
    const auto found = bpe_.merges_.find(PairKey(symbols_[at].id, symbols_[symbols_[at].next].id));
    return found == bpe_.merges_.end() ? nullptr : &found->second;
  }

  // Adds the merge of the symbol at `at` with the next one, if there is any, at the end of the
  // vector.
  bool AddCandidate(int32_t at) {
    const Merged* merged = Find(at);
    if (merged == nullptr) return false;
    // Rank above position: a smaller number is an earlier merge.
    candidates_.push_back(static_cast<uint64_t>(merged->rank) << 32 | static_cast<uint32_t>(at));
    return true;
  }

  void PushCandidate(int32_t at) {
    if (AddCandidate(at)) {
      std::push_heap(candidates_.begin(), candidates_.end(), std::greater<>());
    }
  }

  // Merges at `at` unless the pair there has changed since the candidate was pushed.
  void MergeAt(int32_t at, uint32_t rank) {
    Symbol& left = symbols_[at];
    if (left.id == kGone || left.next == kNone) return;
    const Merged* merged = Find(at);
    if (merged == nullptr || merged->rank != rank) return;
    Symbol& right = symbols_[left.next];
    left.id = merged->id;
    left.next = right.next;
    right.id = kGone;
    if (left.next != kNone) {
      symbols_[left.next].previous = at;
      PushCandidate(at);
    }
    if (left.previous != kNone) PushCandidate(left.previous);
  }

  const Bpe& bpe_;
  std::vector<Symbol> symbols_;
  std::vector<uint64_t> candidates_;
};

Bpe::Bpe(const BpeSpec& spec) : byte_ids_(spec.byte_ids) {
  merges_.reserve(spec.merges.size());
  uint32_t rank = 0;
  for (const BpeMerge& merge : spec.merges) {
    merges_[PairKey(merge.left, merge.right)] = {.rank = rank++, .id = merge.result};
  }
  // A token's bytes do not always encode to that token: the table holds only those that do.
  for (const std::string& bytes : spec.id_to_bytes) {
    if (bytes.empty()) continue;
    std::vector<int32_t> ids;
    EncodeByMerging(bytes, &ids);
    if (ids.size() != 1) continue;
    whole_.emplace(bytes, ids[0]);
    longest_whole_ = std::max(longest_whole_, bytes.size());
  }
}

void Bpe::Encode(absl::string_view piece, std::vector<int32_t>* ids) const {
  if (piece.empty()) return;
  if (piece.size() <= longest_whole_) {
    const auto found = whole_.find(piece);
    if (found != whole_.end()) {
      ids->push_back(found->second);
      return;
    }
  }
  EncodeByMerging(piece, ids);
}

void Bpe::EncodeByMerging(absl::string_view piece, std::vector<int32_t>* ids) const {
  CHECK_LT(piece.size(), size_t{1} << 31);
  Merger merger(*this, piece);
  merger.Run();
  merger.AppendIds(ids);
}

}  // namespace tandem
