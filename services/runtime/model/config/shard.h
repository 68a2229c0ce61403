// SPDX-License-Identifier: Apache-2.0
// Shard: the part of a model that one rank of a tensor-parallel group holds, and its sizes.
//
// Attention is cut by whole output groups with their heads, every MLP, routed or shared, along its
// inner width, and the LM head by vocabulary; all else is whole on every rank. The sub-layers'
// outputs of all ranks add up to the whole model's, their logits stand side by side. So a rank's
// part is itself a model of fewer heads, groups, inner columns and head rows, which ShardConfig
// describes. MLPs too narrow to be cut are whole on every rank, as in tiny-v4: their outputs are,
// too. Values, copyable. Source: specification 2.5, shared experts cut as well.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "services/runtime/model/config/model_config.h"

namespace tandem {

struct Shard {
  int rank = 0;
  int ranks = 1;  // 1, 2, 4 or 8

  // This rank's first of `count` things that the ranks share out evenly, in order.
  int64_t First(int64_t count) const { return count / ranks * rank; }
  int64_t Size(int64_t count) const { return count / ranks; }
};

// Whether the ranks have a part of each MLP: its inner width divides into multiples of 128, blocks
// of scales that no rank shares with another.
bool CutsMlps(const ModelConfig& whole, const Shard& shard);

// Whether the ranks have equal parts of the LM head, each a multiple of the four logits that travel
// together. If not, rank 0 uses all of it and no other rank any.
bool CutsHead(const ModelConfig& whole, const Shard& shard);

// The sizes of what rank `shard.rank` holds of `whole`: its num_attention_heads, o_groups,
// moe_intermediate_size and head_rows, all else as it is. INVALID_ARGUMENT naming field, limit and
// value when there is no such rank, or the ranks do not divide the groups.
absl::StatusOr<ModelConfig> ShardConfig(const ModelConfig& whole, const Shard& shard);

}  // namespace tandem
