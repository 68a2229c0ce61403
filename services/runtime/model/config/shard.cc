// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/model/config/shard.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

constexpr int kBlock = 128;  // of scales
constexpr int kLogits = 4;   // of one access (kernels/comm/gather.h)

absl::Status CheckRank(const Shard& shard) {
  const int ranks = shard.ranks;
  if (ranks != 1 && ranks != 2 && ranks != 4 && ranks != 8) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard: ranks must be one of 1, 2, 4, 8, got ", ranks));
  }
  if (shard.rank < 0 || shard.rank >= ranks) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard: rank must be from 0 to ", ranks - 1, ", got ", shard.rank));
  }
  return absl::OkStatus();
}

}  // namespace

bool CutsMlps(const ModelConfig& whole, const Shard& shard) {
  return shard.ranks > 1 && whole.moe_intermediate_size % (kBlock * shard.ranks) == 0;
}

bool CutsHead(const ModelConfig& whole, const Shard& shard) {
  return shard.ranks > 1 && whole.vocab_size % (kLogits * shard.ranks) == 0;
}

absl::StatusOr<ModelConfig> ShardConfig(const ModelConfig& whole, const Shard& shard) {
  RETURN_IF_ERROR(CheckRank(shard));
  if (shard.ranks == 1) return whole;
  if (whole.o_groups % shard.ranks != 0) {
    return absl::InvalidArgumentError(absl::StrCat("shard: o_groups must be a multiple of the ",
                                                   shard.ranks, " ranks, got ", whole.o_groups));
  }
  ModelConfig out = whole;
  out.num_attention_heads /= shard.ranks;  // a multiple of o_groups, so divisible as well
  out.o_groups /= shard.ranks;
  if (CutsMlps(whole, shard)) out.moe_intermediate_size /= shard.ranks;
  if (CutsHead(whole, shard)) out.head_rows /= shard.ranks;
  return out;
}

}  // namespace tandem
