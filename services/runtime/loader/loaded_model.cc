// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/loaded_model.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/loader/shared/weight_identity.h"
#include "services/runtime/loader/store/checkpoint.h"
#include "services/runtime/loader/store/dummy_weights.h"
#include "services/runtime/loader/weight_filler.h"

namespace tandem {
namespace {

absl::StatusOr<std::unique_ptr<TensorStore>> OpenStore(const LoadOptions& options) {
  if (options.format == LoadFormat::kDummy) return std::make_unique<DummyWeights>();
  ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(options.folder));
  return std::make_unique<Checkpoint>(std::move(checkpoint));
}

}  // namespace

absl::StatusOr<std::unique_ptr<LoadedModel>> LoadedModel::Load(const LoadOptions& options) {
  ASSIGN_OR_RETURN(ModelConfig config, ModelConfig::FromFolder(options.folder));
  ASSIGN_OR_RETURN(ModelConfig shard_config, ShardConfig(config, options.shard));
  std::unique_ptr<LoadedModel> out(
      new LoadedModel({.config = std::move(config), .shard_config = std::move(shard_config)},
                      options.kernels.backend));
  ASSIGN_OR_RETURN(out->store_, OpenStore(options));
  ASSIGN_OR_RETURN(out->bound_, BindWeights(*out->store_, out->config_, options.shard));
  RETURN_IF_ERROR(out->Fill(options));
  return out;
}

absl::Status LoadedModel::Fill(const LoadOptions& options) {
  const WeightPlan plan = PlanWeights(bound_.weights, options.kernels);
  bytes_ = plan.bytes;
  ASSIGN_OR_RETURN(uint8_t* const memory, Take(options, plan));
  if (follows_) {
    AdoptWeights(plan, memory);
  } else {
    RETURN_IF_ERROR(FillWeights({.plan = plan,
                                 .kernels = options.kernels,
                                 .store = *store_,
                                 .memory = memory,
                                 .ranks = options.shard.ranks}));
  }
  if (copy_ != nullptr && !follows_) copy_->Publish();
  if (memory_.backend().ReadsHost()) return absl::OkStatus();
  // All of it is on the device now.
  for (const WeightPiece& piece : plan.pieces) {
    if (piece.linear == nullptr) continue;
    piece.linear->bytes = piece.linear->scales = piece.linear->prepared;
    piece.linear->row_stride = piece.linear->scale_stride = 0;
  }
  bound_.copies.clear();
  store_.reset();
  return absl::OkStatus();
}

absl::StatusOr<uint8_t*> LoadedModel::Take(const LoadOptions& options, const WeightPlan& plan) {
  kernels::Backend& backend = memory_.backend();
  if (options.home == WeightHome::kOwn) {
    if (uint8_t* const memory = memory_.Take(plan.bytes); memory != nullptr) return memory;
    return absl::ResourceExhaustedError(
        absl::StrCat("weights: no memory for ", plan.bytes, " bytes on ", backend.Describe()));
  }
  const WeightCopy::Wanted wanted{
      .model = options.model_name,
      .shard = options.shard,
      .identity = IdentityOf(
          {.store = *store_, .plan = plan, .shard = options.shard, .table = options.kernels.table}),
      .bytes = plan.bytes,
      .backend = backend};
  follows_ = options.home == WeightHome::kFollowed;
  ASSIGN_OR_RETURN(copy_, follows_ ? WeightCopy::Follow(wanted) : WeightCopy::Hold(wanted));
  LogInfo(follows_ ? "weights-followed" : "weights-held",
          {{"bytes", plan.bytes}, {"identity", wanted.identity}, {"on", backend.Describe()}});
  return copy_->memory();
}

LoadedModel::LoadedModel(Parts parts, kernels::Backend& backend)
    : config_(std::move(parts.config)),
      shard_config_(std::move(parts.shard_config)),
      memory_(backend) {}

}  // namespace tandem
