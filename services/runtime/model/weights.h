// SPDX-License-Identifier: Apache-2.0
// Weights: every tensor of a checkpoint once, under the checkpoint's name for it.
//
// Plain views; the loader owns the bytes and outlives them (loader/loaded_model.h). Linear layers
// are in the form the kernel table reads. Which optional parts a layer has follows from the config:
// compressor where ratio ≠ 0, indexer where ratio = 4, gate_tid2eid in hash layers and gate_bias in
// the others. Source: specification 2.1 and 2.2 (names, shapes), dimensions as there: D hidden, H
// heads, E experts, V vocabulary.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/common/dtype.h"
#include "kernels/common/tensor.h"
#include "kernels/gemm/linear_weight.h"
#include "kernels/moe/moe_experts.h"

namespace tandem {

using BfVector = kernels::TensorView<const kernels::Bf16, 1>;
using FloatVector = kernels::TensorView<const float, 1>;
using FloatMatrix = kernels::TensorView<const float, 2>;

// hc_attn_*, hc_ffn_*: fn [24, 4D], base [24], scale [3]; hc_head_*: fn [4, 4D], base [4], scale
// [1].
struct HyperConnectionWeights {
  FloatMatrix fn;
  FloatVector base;
  FloatVector scale;
};

// Width c·d: 2·512 (CSA), 512 (HCA), 2·128 (indexer).
struct CompressorWeights {
  FloatMatrix ape;              // [ratio, c·d]
  kernels::LinearWeight wkv;    // [c·d, D]
  kernels::LinearWeight wgate;  // [c·d, D]
  BfVector norm;                // [d]
};

struct IndexerWeights {
  kernels::LinearWeight wq_b;          // [index_n_heads · 128, q_lora_rank]
  kernels::LinearWeight weights_proj;  // [index_n_heads, D]
  CompressorWeights compressor;
};

struct AttentionWeights {
  kernels::LinearWeight wq_a;  // [q_lora_rank, D]
  BfVector q_norm;             // [q_lora_rank]
  kernels::LinearWeight wq_b;  // [H · 512, q_lora_rank]
  kernels::LinearWeight wkv;   // [512, D]
  BfVector kv_norm;            // [512]
  kernels::LinearWeight wo_a;  // [o_groups · o_lora_rank, H · 512 / o_groups]
  kernels::LinearWeight wo_b;  // [D, o_groups · o_lora_rank]
  FloatVector attn_sink;       // [H]
  std::optional<CompressorWeights> compressor;
  std::optional<IndexerWeights> indexer;
};

struct MoeWeights {
  kernels::LinearWeight gate;                          // [E, D]
  FloatVector gate_bias;                               // [E], or empty
  kernels::TensorView<const int64_t, 2> gate_tid2eid;  // [V, num_experts_per_tok], or empty
  std::vector<kernels::ExpertWeights> experts;         // [E], w1 and w3 [I, D], w2 [D, I]
  kernels::ExpertWeights shared_experts;
};

struct LayerWeights {
  HyperConnectionWeights hc_attn;
  BfVector attn_norm;  // [D]
  AttentionWeights attn;
  HyperConnectionWeights hc_ffn;
  BfVector ffn_norm;  // [D]
  MoeWeights ffn;
};

struct Weights {
  kernels::TensorView<const kernels::Bf16, 2> embed;  // [V, D]
  std::vector<LayerWeights> layers;
  HyperConnectionWeights hc_head;
  BfVector norm;               // [D]
  kernels::LinearWeight head;  // [V, D]
};

}  // namespace tandem
