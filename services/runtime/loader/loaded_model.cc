// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/loaded_model.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

using kernels::LinearWeight;

// Where prepared weights of one group may begin.
constexpr int64_t kAlign = 256;

// Linears whose prepared forms lie side by side: one, or the experts of a layer, which kernels find
// by their distance (kernels/moe/moe_experts.h).
using Group = std::vector<LinearWeight*>;

// Every linear layer, in the order of the forward pass.
std::vector<Group> Linears(Weights& weights) {
  std::vector<Group> out;
  const auto add = [&out](auto&... linears) { (out.push_back({&linears}), ...); };
  for (LayerWeights& layer : weights.layers) {
    AttentionWeights& a = layer.attn;
    add(a.wq_a, a.wq_b, a.wkv, a.wo_a, a.wo_b);
    if (a.compressor) add(a.compressor->wkv, a.compressor->wgate);
    if (a.indexer) {
      add(a.indexer->wq_b, a.indexer->weights_proj);
      add(a.indexer->compressor.wkv, a.indexer->compressor.wgate);
    }
    add(layer.ffn.gate);
    Group& experts = out.emplace_back();
    for (kernels::ExpertWeights& expert : layer.ffn.experts) {
      experts.insert(experts.end(), {&expert.w1, &expert.w3, &expert.w2});
    }
    add(layer.ffn.shared_experts.w1, layer.ffn.shared_experts.w3, layer.ffn.shared_experts.w2);
  }
  add(weights.head);
  return out;
}

// Calls `visit` for the view of every tensor that is no linear.
template <typename Visit>
void ForEachTensor(Weights& weights, Visit visit) {
  const auto hyper = [&visit](HyperConnectionWeights& w) {
    visit(w.fn), visit(w.base), visit(w.scale);
  };
  const auto compressor = [&visit](CompressorWeights& w) { visit(w.ape), visit(w.norm); };
  visit(weights.embed);
  for (LayerWeights& layer : weights.layers) {
    hyper(layer.hc_attn), hyper(layer.hc_ffn);
    visit(layer.attn_norm), visit(layer.ffn_norm);
    visit(layer.attn.q_norm), visit(layer.attn.kv_norm), visit(layer.attn.attn_sink);
    if (layer.attn.compressor) compressor(*layer.attn.compressor);
    if (layer.attn.indexer) compressor(layer.attn.indexer->compressor);
    visit(layer.ffn.gate_bias), visit(layer.ffn.gate_tid2eid);
  }
  hyper(weights.hc_head);
  visit(weights.norm);
}

uint64_t CheckpointBytes(const LinearWeight& weight) {
  return static_cast<uint64_t>(weight.n * kernels::RowBytes(weight) + kernels::ScaleCount(weight));
}

// One log line a second, and one at the end.
class Progress {
 public:
  explicit Progress(size_t total) : total_(total), begin_(Clock::Real().Now()), last_(begin_) {}

  void Advance(size_t done, uint64_t bytes) {
    const absl::Time now = Clock::Real().Now();
    if (done != total_ && now - last_ < absl::Seconds(1)) return;
    last_ = now;
    const double seconds = absl::ToDoubleSeconds(now - begin_);
    LogInfo(done == total_ ? "weights_loaded" : "weights_loading",
            {{"linears", absl::StrCat(done, "/", total_)},
             {"bytes", bytes},
             {"gb_per_s", absl::StrFormat("%.2f", static_cast<double>(bytes) / 1e9 /
                                                      std::max(seconds, 1e-9))}});
  }

 private:
  const size_t total_;
  const absl::Time begin_;
  absl::Time last_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LoadedModel>> LoadedModel::Load(const LoadOptions& options) {
  ASSIGN_OR_RETURN(ModelConfig config, ModelConfig::FromFolder(options.folder));
  ASSIGN_OR_RETURN(ModelConfig shard_config, ShardConfig(config, options.shard));
  ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(options.folder));
  ASSIGN_OR_RETURN(BoundWeights bound, BindWeights(checkpoint, config, options.shard));
  kernels::Backend& backend = options.kernels.backend;
  std::unique_ptr<LoadedModel> out(new LoadedModel({.config = std::move(config),
                                                    .shard_config = std::move(shard_config),
                                                    .checkpoint = std::move(checkpoint),
                                                    .bound = std::move(bound)},
                                                   backend));
  RETURN_IF_ERROR(out->Prepare(options.kernels.table));
  if (!backend.ReadsHost()) RETURN_IF_ERROR(out->Upload());
  return out;
}

LoadedModel::LoadedModel(Parts parts, kernels::Backend& backend)
    : config_(std::move(parts.config)),
      shard_config_(std::move(parts.shard_config)),
      checkpoint_(std::move(parts.checkpoint)),
      bound_(std::move(parts.bound)),
      memory_(backend) {}

absl::StatusOr<uint8_t*> LoadedModel::Take(int64_t bytes) {
  const int64_t before = memory_.bytes();
  uint8_t* const at = memory_.Take(bytes);
  if (at != nullptr) return at;
  return absl::ResourceExhaustedError(
      absl::StrCat("weights: no memory for ", bytes, " bytes after ", before));
}

absl::Status LoadedModel::Prepare(const kernels::KernelTable& table) {
  const std::vector<Group> groups = Linears(bound_.weights);
  size_t count = 0;
  for (const Group& group : groups) count += group.size();
  Progress progress(count);
  size_t done = 0;
  uint64_t read = 0;
  for (const Group& group : groups) {
    std::vector<int64_t> room;
    int64_t total = 0;
    for (const LinearWeight* linear : group) {
      room.push_back((table.prepared_bytes(*linear) + kAlign - 1) / kAlign * kAlign);
      total += room.back();
    }
    uint8_t* at = nullptr;
    if (total > 0) {
      ASSIGN_OR_RETURN(at, Take(total));
    }
    for (size_t i = 0; i < group.size(); ++i) {
      if (room[i] > 0) table.prepare_linear(group[i], {at, static_cast<size_t>(room[i])});
      at += room[i];
      read += CheckpointBytes(*group[i]);
      progress.Advance(++done, read);
    }
  }
  return absl::OkStatus();
}

absl::Status LoadedModel::Upload() {
  absl::Status status;
  ForEachTensor(bound_.weights, [&](auto& view) {
    if (view.data == nullptr || !status.ok()) return;
    const int64_t bytes = view.size() * static_cast<int64_t>(sizeof(*view.data));
    const absl::StatusOr<uint8_t*> at = Take(bytes);
    status = at.status();
    if (!status.ok()) return;
    memory_.backend().CopyNow({.to = *at, .from = view.data, .bytes = bytes});
    view.data = reinterpret_cast<decltype(view.data)>(*at);
  });
  return status;
}

}  // namespace tandem
