// SPDX-License-Identifier: Apache-2.0
// Prompts as token ids: which ids may stand in one, and the ids of a planned request. The same seed
// gives the same ids. Immutable; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "services/tools/load/plan/random.h"

namespace tandem {

// Ids that a prompt is drawn from: ranges without special tokens.
class Vocabulary {
 public:
  struct Range {
    uint32_t begin = 0;
    uint32_t end = 0;  // one past the last
  };
  // At least one id in all.
  explicit Vocabulary(std::vector<Range> ranges);

  uint32_t Draw(Random& random) const;
  uint64_t size() const { return size_; }
  const std::vector<Range>& ranges() const { return ranges_; }

 private:
  std::vector<Range> ranges_;
  uint64_t size_ = 0;
};

// What a prompt is made of, in this order: the tokens of its prefix group, then of its blocks, cut
// to `tokens`, then tokens that are its own.
struct PromptRecipe {
  uint64_t index = 0;   // of the request: its own tokens depend on this
  uint32_t tokens = 1;  // in all
  std::optional<uint32_t> group;
  uint32_t group_tokens = 0;
  std::vector<uint64_t> blocks;
  uint32_t block_tokens = 0;
};

std::vector<uint32_t> MakePrompt(const PromptRecipe& recipe, const Vocabulary& vocabulary,
                                 uint64_t seed);

}  // namespace tandem
