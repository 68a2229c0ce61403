// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/model/config/shard.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

// Of a block of scales, which no rank shares with another.
constexpr int kBlock = 128;

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

struct Division {
  absl::string_view field;
  int size;
  int multiple_of;  // of each rank's part
};

absl::Status CheckDivides(const Division& division, int ranks) {
  const int unit = division.multiple_of * ranks;
  if (division.size % unit == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("shard: ", division.field,
                                                 " must be a multiple of ", unit, " for ", ranks,
                                                 " ranks, got ", division.size));
}

}  // namespace

absl::StatusOr<ModelConfig> ShardConfig(const ModelConfig& whole, const Shard& shard) {
  RETURN_IF_ERROR(CheckRank(shard));
  if (shard.ranks == 1) return whole;
  RETURN_IF_ERROR(CheckDivides({"o_groups", whole.o_groups, 1}, shard.ranks));
  RETURN_IF_ERROR(
      CheckDivides({"moe_intermediate_size", whole.moe_intermediate_size, kBlock}, shard.ranks));
  ModelConfig out = whole;
  out.num_attention_heads /= shard.ranks;  // a multiple of o_groups, so divisible as well
  out.o_groups /= shard.ranks;
  out.moe_intermediate_size /= shard.ranks;
  return out;
}

}  // namespace tandem
