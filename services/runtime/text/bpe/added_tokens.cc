// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/bpe/added_tokens.h"

#include "services/runtime/base/check.h"

namespace tandem {

AddedTokenFinder::AddedTokenFinder(absl::Span<const AddedToken> tokens) : ids_{-1} {
  for (const AddedToken& token : tokens) {
    CHECK(!token.content.empty());
    starts_[static_cast<uint8_t>(token.content[0])] = true;
    uint32_t node = 0;
    for (const char c : token.content) {
      const uint32_t edge = node << 8 | static_cast<uint8_t>(c);
      const auto [child, is_new] = children_.try_emplace(edge, ids_.size());
      if (is_new) ids_.push_back(-1);
      node = child->second;
    }
    ids_[node] = token.id;
  }
}

std::optional<AddedTokenFinder::Match> AddedTokenFinder::MatchAt(absl::string_view text,
                                                                 size_t begin) const {
  std::optional<Match> longest;
  uint32_t node = 0;
  for (size_t i = begin; i < text.size(); ++i) {
    const auto child = children_.find(node << 8 | static_cast<uint8_t>(text[i]));
    if (child == children_.end()) break;
    node = child->second;
    if (ids_[node] >= 0) longest = Match{.id = ids_[node], .range = {begin, i + 1}};
  }
  return longest;
}

std::vector<AddedTokenFinder::Match> AddedTokenFinder::Find(
    absl::string_view text, absl::Span<const ByteRange> plain) const {
  std::vector<Match> matches;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!starts_[static_cast<uint8_t>(text[i])]) continue;
    while (!plain.empty() && plain.front().end <= i) plain.remove_prefix(1);
    const std::optional<Match> match = MatchAt(text, i);
    if (!match.has_value()) continue;
    if (!plain.empty() && plain.front().begin < match->range.end) continue;
    matches.push_back(*match);
    i = match->range.end - 1;
  }
  return matches;
}

}  // namespace tandem
