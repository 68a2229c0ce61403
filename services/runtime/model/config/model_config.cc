// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/model/config/model_config.h"

#include <utility>

#include "absl/status/status.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/model/config/field_reader.h"

namespace tandem {
namespace {

// Positions enter RoPE as fp32, exact up to here.
constexpr int64_t kMaxPositions = int64_t{1} << 24;

void ReadShape(FieldReader& in, ModelConfig& c) {
  c.vocab_size = in.Int("vocab_size", {.min = 1, .max = 1 << 24});
  c.head_rows = c.vocab_size;
  c.hidden_size = in.Int("hidden_size", {.min = 128, .max = 65536, .multiple_of = 128});
  c.num_hidden_layers = in.Int("num_hidden_layers", {.min = 1, .max = 1024});
  c.max_position_embeddings = in.Int("max_position_embeddings", {.min = 1, .max = kMaxPositions});
  c.bos_token_id = in.Int("bos_token_id", {.min = 0, .max = c.vocab_size - 1});
  c.eos_token_id = in.Int("eos_token_id", {.min = 0, .max = c.vocab_size - 1});
  c.num_attention_heads = in.Int("num_attention_heads", {.min = 1, .max = 1024});
  c.q_lora_rank = in.Int("q_lora_rank", {.min = 128, .max = 65536, .multiple_of = 128});
  c.o_groups = in.Int("o_groups", {.min = 1, .max = c.num_attention_heads});
  c.o_lora_rank = in.Int("o_lora_rank", {.min = 128, .max = 65536, .multiple_of = 128});
  c.index_n_heads = in.Int("index_n_heads", {.min = 1, .max = 1024});
  c.index_topk = in.Int("index_topk", {.min = 1, .max = 65536});
  c.n_routed_experts = in.Int("n_routed_experts", {.min = 1, .max = 4096});
  c.num_experts_per_tok = in.Int("num_experts_per_tok", {.min = 1, .max = c.n_routed_experts});
  c.moe_intermediate_size =
      in.Int("moe_intermediate_size", {.min = 128, .max = 65536, .multiple_of = 128});
  c.num_hash_layers = in.Int("num_hash_layers", {.min = 0, .max = 1024});
}

void ReadConstants(FieldReader& in, ModelConfig& c) {
  c.routed_scaling_factor = in.Number("routed_scaling_factor", {.min = 1e-6, .max = 1e6});
  c.swiglu_limit = in.Number("swiglu_limit", {.min = 1e-3, .max = 1e6});
  c.hc_sinkhorn_iters = in.Int("hc_sinkhorn_iters", {.min = 1, .max = 1000});
  c.hc_eps = in.Number("hc_eps", {.min = 0, .max = 1});
  c.rms_norm_eps = in.Number("rms_norm_eps", {.min = 1e-30, .max = 1});
  c.rope_theta = in.Number("rope_theta", {.min = 2, .max = 1e12});
  c.compress_rope_theta = in.Number("compress_rope_theta", {.min = 2, .max = 1e12});
}

// What this implementation has one way of doing: anything else is another model.
void CheckFixed(FieldReader& in) {
  in.MustBe("model_type", "deepseek_v4");
  in.MustBe("head_dim", kHeadDim);
  in.MustBe("qk_rope_head_dim", kRopeDim);
  in.MustBe("index_head_dim", kIndexHeadDim);
  in.MustBe("sliding_window", kSlidingWindow);
  in.MustBe("hc_mult", kHcMult);
  in.MustBe("num_key_value_heads", 1);
  in.MustBe("n_shared_experts", 1);
  in.MustBe("scoring_func", "sqrtsoftplus");
  in.MayOnlyBe("topk_method", "noaux_tc");
  in.MayOnlyBe("hidden_act", "silu");
  in.MayOnlyBe("norm_topk_prob", true);
  in.MayOnlyBe("tie_word_embeddings", false);
  in.MayOnlyBe("attention_bias", false);
  in.MayOnlyBe("expert_dtype", "fp4");
}

void CheckQuantization(FieldReader& in) {
  in.MustBe("quantization_config.quant_method", "fp8");
  in.MayOnlyBe("quantization_config.fmt", "e4m3");
  in.MayOnlyBe("quantization_config.activation_scheme", "dynamic");
  in.MustBe("quantization_config.scale_fmt", "ue8m0");
  in.MustBe("quantization_config.weight_block_size", {128, 128});
}

RopeScaling ReadRopeScaling(FieldReader& in) {
  // transformers renamed the key; both are in circulation.
  in.MustBe(in.Has("rope_scaling.rope_type") ? "rope_scaling.rope_type" : "rope_scaling.type",
            "yarn");
  RopeScaling s;
  s.factor = in.Number("rope_scaling.factor", {.min = 1, .max = 1e6});
  s.beta_fast = in.Number("rope_scaling.beta_fast", {.min = 1e-3, .max = 1e6});
  s.beta_slow = in.Number("rope_scaling.beta_slow", {.min = 1e-3, .max = 1e6});
  s.original_max_position_embeddings =
      in.Int("rope_scaling.original_max_position_embeddings", {.min = 1, .max = kMaxPositions});
  return s;
}

absl::Status CheckTogether(const ModelConfig& c) {
  if (c.num_attention_heads % c.o_groups != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: o_groups must be a divisor of num_attention_heads (",
                     c.num_attention_heads, "), got ", c.o_groups));
  }
  if (c.rope_scaling.beta_slow >= c.rope_scaling.beta_fast) {
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: rope_scaling.beta_slow must be below beta_fast (",
                     c.rope_scaling.beta_fast, "), got ", c.rope_scaling.beta_slow));
  }
  return absl::OkStatus();
}

absl::Status ReadGenerationConfig(const std::string& folder, ModelConfig& c) {
  const std::string path = folder + "/generation_config.json";
  absl::StatusOr<std::string> text = ReadTextFile(path);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  RETURN_IF_ERROR(text.status());
  ASSIGN_OR_RETURN(FieldReader in, FieldReader::Parse("generation_config.json", *text));
  if (in.Has("temperature"))
    c.default_temperature = in.Number("temperature", {.min = 0, .max = 100});
  if (in.Has("top_p")) c.default_top_p = in.Number("top_p", {.min = 1e-6, .max = 1});
  return in.status();
}

}  // namespace

absl::StatusOr<ModelConfig> ModelConfig::FromJson(absl::string_view text) {
  ASSIGN_OR_RETURN(FieldReader in, FieldReader::Parse("config.json", text));
  ModelConfig c;
  CheckFixed(in);
  ReadShape(in, c);
  ReadConstants(in, c);
  CheckQuantization(in);
  c.rope_scaling = ReadRopeScaling(in);
  c.compress_ratios =
      in.IntList("compress_ratios", {.length = c.num_hidden_layers, .allowed = {0, 4, 128}});
  RETURN_IF_ERROR(in.status());
  RETURN_IF_ERROR(CheckTogether(c));
  return c;
}

absl::StatusOr<ModelConfig> ModelConfig::FromFolder(const std::string& folder) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(folder + "/config.json"));
  ASSIGN_OR_RETURN(ModelConfig config, FromJson(text));
  RETURN_IF_ERROR(ReadGenerationConfig(folder, config));
  return config;
}

LayerKind ModelConfig::layer_kind(int layer) const {
  CHECK(layer >= 0 && layer < num_hidden_layers);
  if (compress_ratios[layer] == 0) return LayerKind::kSwa;
  return compress_ratios[layer] == 4 ? LayerKind::kCsa : LayerKind::kHca;
}

}  // namespace tandem
