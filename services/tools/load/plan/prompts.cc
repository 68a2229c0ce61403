// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/plan/prompts.h"

#include <algorithm>
#include <utility>

#include "services/runtime/base/check.h"

namespace tandem {

Vocabulary::Vocabulary(std::vector<Range> ranges) : ranges_(std::move(ranges)) {
  for (const Range& range : ranges_) size_ += range.end - range.begin;
  CHECK_GT(size_, 0U);
}

uint32_t Vocabulary::Draw(Random& random) const {
  uint64_t at = random.Below(size_);
  auto range = ranges_.begin();
  for (; at >= range->end - range->begin; ++range) at -= range->end - range->begin;
  return range->begin + static_cast<uint32_t>(at);
}

std::vector<uint32_t> MakePrompt(const PromptRecipe& recipe, const Vocabulary& vocabulary,
                                 uint64_t seed) {
  std::vector<uint32_t> ids;
  ids.reserve(recipe.tokens);
  const auto draw = [&](Random random, size_t count) {
    const size_t end = std::min<size_t>(ids.size() + count, recipe.tokens);
    while (ids.size() < end) ids.push_back(vocabulary.Draw(random));
  };
  if (recipe.group.has_value()) {
    draw(Random(seed, Draws::kPrefixes, *recipe.group), recipe.group_tokens);
  }
  for (const uint64_t block : recipe.blocks) {
    draw(Random(seed, Draws::kBlocks, block), recipe.block_tokens);
  }
  draw(Random(seed, Draws::kTokens, recipe.index), recipe.tokens);
  return ids;
}

}  // namespace tandem
