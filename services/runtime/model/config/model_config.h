// SPDX-License-Identifier: Apache-2.0
// ModelConfig: the sizes and constants of one DeepSeek-V4 checkpoint, read from its config.json and
// checked. A ModelConfig that exists is inside every limit the kernels state, so nothing downstream
// checks again. Plain value, copyable. Knows no kernels, so the router links it as well. Errors:
// INVALID_ARGUMENT naming field, limit and value; NOT_FOUND when the file is missing. Source:
// specification 1.1 (fields) and 1.2 (layer kinds).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tandem {

// Sizes that the kernels' contracts fix for the whole family.
inline constexpr int kHeadDim = 512;
inline constexpr int kRopeDim = 64;
inline constexpr int kIndexHeadDim = 128;
inline constexpr int kSlidingWindow = 128;
inline constexpr int kHcMult = 4;

// What a layer attends to beside its 128-token window.
enum class LayerKind {
  kSwa,  // nothing (ratio 0)
  kCsa,  // one row per 4 tokens, the indexer's best (ratio 4)
  kHca,  // one row per 128 tokens, all of them (ratio 128)
};

struct RopeScaling {
  double factor = 16;
  double beta_fast = 32;
  double beta_slow = 1;
  int64_t original_max_position_embeddings = 65536;
};

struct ModelConfig {
  int vocab_size = 0;
  int head_rows = 0;  // of the vocabulary that the LM head has: all of it, but for a rank's part
  int hidden_size = 0;
  int num_hidden_layers = 0;
  std::vector<int>
      compress_ratios;  // [num_hidden_layers], each 0, 4 or 128; the file's MTP entries are dropped
  int64_t max_position_embeddings = 0;
  int bos_token_id = 0;
  int eos_token_id = 0;

  int num_attention_heads = 0;
  int q_lora_rank = 0;
  int o_groups = 0;
  int o_lora_rank = 0;
  int index_n_heads = 0;
  int index_topk = 0;

  int n_routed_experts = 0;
  int num_experts_per_tok = 0;
  int moe_intermediate_size = 0;
  int num_hash_layers = 0;
  double routed_scaling_factor = 0;
  double swiglu_limit = 0;

  int hc_sinkhorn_iters = 0;
  double hc_eps = 0;
  double rms_norm_eps = 0;
  double rope_theta = 0;           // layers of ratio 0, without YaRN
  double compress_rope_theta = 0;  // all other layers, with YaRN
  RopeScaling rope_scaling;

  // From generation_config.json, where there is one; the released defaults otherwise.
  double default_temperature = 1.0;
  double default_top_p = 1.0;

  // `text` is config.json's text.
  static absl::StatusOr<ModelConfig> FromJson(absl::string_view text);
  // Reads `folder`/config.json and, where it exists, `folder`/generation_config.json.
  static absl::StatusOr<ModelConfig> FromFolder(const std::string& folder);

  LayerKind layer_kind(int layer) const;
  bool uses_hash_router(int layer) const { return layer < num_hash_layers; }
  int heads_per_group() const { return num_attention_heads / o_groups; }
};

}  // namespace tandem
