// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/loaded_model.h"

#include <algorithm>
#include <memory>
#include <new>
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

constexpr size_t kPreparedAlignment = 64;

// Every linear layer, in the order of the forward pass.
std::vector<LinearWeight*> Linears(Weights& weights) {
  std::vector<LinearWeight*> out;
  const auto add = [&out](auto&... linears) { (out.push_back(&linears), ...); };
  for (LayerWeights& layer : weights.layers) {
    AttentionWeights& a = layer.attn;
    add(a.wq_a, a.wq_b, a.wkv, a.wo_a, a.wo_b);
    if (a.compressor) add(a.compressor->wkv, a.compressor->wgate);
    if (a.indexer) {
      add(a.indexer->wq_b, a.indexer->weights_proj);
      add(a.indexer->compressor.wkv, a.indexer->compressor.wgate);
    }
    add(layer.ffn.gate);
    for (kernels::ExpertWeights& expert : layer.ffn.experts) add(expert.w1, expert.w3, expert.w2);
    add(layer.ffn.shared_experts.w1, layer.ffn.shared_experts.w3, layer.ffn.shared_experts.w2);
  }
  add(weights.head);
  return out;
}

uint64_t CheckpointBytes(const LinearWeight& weight) {
  const uint64_t values = static_cast<uint64_t>(weight.n * weight.k);
  if (weight.format == kernels::WeightFormat::kBf16) return 2 * values;
  return weight.format == kernels::WeightFormat::kFp8 ? values : values / 2;
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

absl::StatusOr<std::unique_ptr<LoadedModel>> LoadedModel::Load(
    const std::string& folder, const kernels::KernelTable& kernels) {
  ASSIGN_OR_RETURN(ModelConfig config, ModelConfig::FromFolder(folder));
  ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(folder));
  ASSIGN_OR_RETURN(BoundWeights bound, BindWeights(checkpoint, config));
  std::unique_ptr<LoadedModel> out(
      new LoadedModel(std::move(config), std::move(checkpoint), std::move(bound)));
  RETURN_IF_ERROR(out->Prepare(kernels));
  return out;
}

LoadedModel::LoadedModel(ModelConfig config, Checkpoint checkpoint, BoundWeights bound)
    : config_(std::move(config)), checkpoint_(std::move(checkpoint)), bound_(std::move(bound)) {}

absl::Status LoadedModel::Prepare(const kernels::KernelTable& kernels) {
  const std::vector<LinearWeight*> linears = Linears(bound_.weights);
  Progress progress(linears.size());
  uint64_t read = 0;
  for (size_t i = 0; i < linears.size(); ++i) {
    const int64_t bytes = kernels.prepared_bytes(*linears[i]);
    if (bytes > 0) {
      const size_t room = static_cast<size_t>(bytes) + kPreparedAlignment;
      prepared_.emplace_back(new (std::nothrow) uint8_t[room]);
      if (prepared_.back() == nullptr) {
        return absl::ResourceExhaustedError(absl::StrCat(
            "weights: no memory for ", room, " prepared bytes after ", prepared_bytes_));
      }
      void* at = prepared_.back().get();
      size_t space = room;
      std::align(kPreparedAlignment, static_cast<size_t>(bytes), at, space);
      kernels.prepare_linear(linears[i], {static_cast<uint8_t*>(at), static_cast<size_t>(bytes)});
    }
    prepared_bytes_ += static_cast<uint64_t>(bytes);
    read += CheckpointBytes(*linears[i]);
    progress.Advance(i + 1, read);
  }
  return absl::OkStatus();
}

}  // namespace tandem
