// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/weight_binder.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/loader/tensor_source.h"

namespace tandem {
namespace {

using kernels::LinearWeight;
using kernels::WeightFormat;

constexpr size_t kFaultsEnough = 1000;

// The names and shapes of specification 2.1 and 2.2, in that order.
class Binder {
 public:
  Binder(TensorSource& source, const ModelConfig& config, const Shard& shard)
      : source_(source),
        c_(config),
        cuts_mlps_(CutsMlps(config, shard)),
        cuts_head_(CutsHead(config, shard)) {}

  Weights Model() {
    Weights w;
    w.embed = source_.Bf16Matrix("embed.weight", {c_.vocab_size, c_.hidden_size});
    w.head =
        Bf16("head", {c_.vocab_size, c_.hidden_size}, cuts_head_ ? Split::kRows : Split::kWhole);
    w.norm = source_.Bf16Vector("norm.weight", c_.hidden_size);
    w.hc_head = HyperConnection("hc_head", {.rows = kHcMult, .scales = 1});
    // A config of another model would fault millions of times.
    for (int i = 0; i < c_.num_hidden_layers && source_.faults() < kFaultsEnough; ++i) {
      w.layers.push_back(Layer(i));
    }
    return w;
  }

 private:
  struct HcShape {
    int64_t rows = (2 + kHcMult) * kHcMult;
    int64_t scales = 3;
  };

  HyperConnectionWeights HyperConnection(const std::string& name, const HcShape& shape) {
    return {
        .fn = source_.FloatMatrixOf(name + "_fn", {shape.rows, int64_t{kHcMult} * c_.hidden_size}),
        .base = source_.FloatVectorOf(name + "_base", shape.rows),
        .scale = source_.FloatVectorOf(name + "_scale", shape.scales)};
  }

  LinearWeight Fp8(const std::string& name, const MatrixShape& shape, Split split = Split::kWhole) {
    return source_.Linear(name, {.format = WeightFormat::kFp8, .split = split}, shape);
  }
  LinearWeight Bf16(const std::string& name, const MatrixShape& shape,
                    Split split = Split::kWhole) {
    return source_.Linear(name, {.format = WeightFormat::kBf16, .split = split}, shape);
  }

  CompressorWeights Compressor(const std::string& name, int ratio, int64_t dim) {
    const int64_t width = (ratio == 4 ? 2 : 1) * dim;
    return {.ape = source_.FloatMatrixOf(name + ".ape", {ratio, width}),
            .wkv = Bf16(name + ".wkv", {width, c_.hidden_size}),
            .wgate = Bf16(name + ".wgate", {width, c_.hidden_size}),
            .norm = source_.Bf16Vector(name + ".norm.weight", dim)};
  }

  AttentionWeights Attention(const std::string& name, int ratio) {
    const int64_t heads = int64_t{c_.num_attention_heads} * kHeadDim;
    const int64_t latent = int64_t{c_.o_groups} * c_.o_lora_rank;
    AttentionWeights w{.wq_a = Fp8(name + "wq_a", {c_.q_lora_rank, c_.hidden_size}),
                       .q_norm = source_.Bf16Vector(name + "q_norm.weight", c_.q_lora_rank),
                       .wq_b = Fp8(name + "wq_b", {heads, c_.q_lora_rank}, Split::kRows),
                       .wkv = Fp8(name + "wkv", {kHeadDim, c_.hidden_size}),
                       .kv_norm = source_.Bf16Vector(name + "kv_norm.weight", kHeadDim),
                       .wo_a = Fp8(name + "wo_a", {latent, heads / c_.o_groups}, Split::kRows),
                       .wo_b = Fp8(name + "wo_b", {c_.hidden_size, latent}, Split::kColumns),
                       .attn_sink = source_.FloatVectorOf(name + "attn_sink",
                                                          c_.num_attention_heads, Split::kRows)};
    if (ratio != 0) w.compressor = Compressor(name + "compressor", ratio, kHeadDim);
    if (ratio == 4) {
      w.indexer = IndexerWeights{
          .wq_b = Fp8(name + "indexer.wq_b",
                      {int64_t{c_.index_n_heads} * kIndexHeadDim, c_.q_lora_rank}),
          .weights_proj = Bf16(name + "indexer.weights_proj", {c_.index_n_heads, c_.hidden_size}),
          .compressor = Compressor(name + "indexer.compressor", ratio, kIndexHeadDim)};
    }
    return w;
  }

  kernels::ExpertWeights Expert(const std::string& name, WeightFormat format) {
    const MatrixShape in{c_.moe_intermediate_size, c_.hidden_size};
    const MatrixShape out{c_.hidden_size, c_.moe_intermediate_size};
    const Split rows = cuts_mlps_ ? Split::kRows : Split::kWhole;
    const Split columns = cuts_mlps_ ? Split::kColumns : Split::kWhole;
    return {.w1 = source_.Linear(name + ".w1", {.format = format, .split = rows}, in),
            .w3 = source_.Linear(name + ".w3", {.format = format, .split = rows}, in),
            .w2 = source_.Linear(name + ".w2", {.format = format, .split = columns}, out)};
  }

  MoeWeights Moe(const std::string& name, bool hashed) {
    MoeWeights w;
    w.gate = Bf16(name + "gate", {c_.n_routed_experts, c_.hidden_size});
    if (hashed) {
      w.gate_tid2eid = source_.ExpertTable(
          name + "gate.tid2eid", {c_.vocab_size, c_.num_experts_per_tok}, c_.n_routed_experts);
    } else {
      w.gate_bias = source_.FloatVectorOf(name + "gate.bias", c_.n_routed_experts);
    }
    for (int e = 0; e < c_.n_routed_experts; ++e) {
      w.experts.push_back(Expert(absl::StrCat(name, "experts.", e), WeightFormat::kFp4));
    }
    w.shared_experts = Expert(name + "shared_experts", WeightFormat::kFp8);
    return w;
  }

  LayerWeights Layer(int i) {
    const std::string name = absl::StrCat("layers.", i, ".");
    return {.hc_attn = HyperConnection(name + "hc_attn", {}),
            .attn_norm = source_.Bf16Vector(name + "attn_norm.weight", c_.hidden_size),
            .attn = Attention(name + "attn.", c_.compress_ratios[i]),
            .hc_ffn = HyperConnection(name + "hc_ffn", {}),
            .ffn_norm = source_.Bf16Vector(name + "ffn_norm.weight", c_.hidden_size),
            .ffn = Moe(name + "ffn.", c_.uses_hash_router(i))};
  }

  TensorSource& source_;
  const ModelConfig& c_;
  const bool cuts_mlps_, cuts_head_;
};

}  // namespace

absl::StatusOr<BoundWeights> BindWeights(TensorStore& store, const ModelConfig& config,
                                         const Shard& shard) {
  TensorSource source(store, shard);
  BoundWeights out{.weights = Binder(source, config, shard).Model()};
  source.SetAside("mtp.");
  RETURN_IF_ERROR(source.Finish());
  out.copies = source.TakeCopies();
  return out;
}

}  // namespace tandem
