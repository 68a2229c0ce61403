// SPDX-License-Identifier: Apache-2.0
// Goal: a config.json is either inside every limit or refused with one line that names field, limit
// and value. Method: the released Flash and Pro configs and the small ones are read; then one field
// at a time is broken.
#include "services/runtime/model/config/model_config.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace tandem {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

Json FlashConfig() {
  Json config = Json::parse(R"({
    "architectures": ["DeepseekV4ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "bos_token_id": 0, "eos_token_id": 1, "hc_eps": 1e-06, "hc_mult": 4, "hc_sinkhorn_iters": 20,
    "head_dim": 512, "hidden_act": "silu", "hidden_size": 4096, "index_head_dim": 128,
    "index_n_heads": 64, "index_topk": 512, "initializer_range": 0.02,
    "max_position_embeddings": 1048576, "model_type": "deepseek_v4", "moe_intermediate_size": 2048,
    "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": true,
    "num_attention_heads": 64, "num_experts_per_tok": 6, "num_hidden_layers": 43,
    "num_hash_layers": 3, "num_key_value_heads": 1, "num_nextn_predict_layers": 1, "o_groups": 8,
    "o_lora_rank": 1024, "q_lora_rank": 1024, "qk_rope_head_dim": 64,
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                            "scale_fmt": "ue8m0", "weight_block_size": [128, 128]},
    "rms_norm_eps": 1e-06,
    "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 16,
                     "original_max_position_embeddings": 65536, "type": "yarn"},
    "rope_theta": 10000, "routed_scaling_factor": 1.5, "scoring_func": "sqrtsoftplus",
    "sliding_window": 128, "swiglu_limit": 10.0, "tie_word_embeddings": false,
    "topk_method": "noaux_tc", "torch_dtype": "bfloat16", "transformers_version": "4.57.1",
    "use_cache": true, "vocab_size": 129280, "compress_rope_theta": 160000})");
  std::vector<int> ratios = {0, 0};
  for (int i = 2; i < 43; ++i) ratios.push_back(i % 2 == 0 ? 4 : 128);
  ratios.push_back(0);  // the MTP layer
  config["compress_ratios"] = ratios;
  return config;
}

Json ProConfig() {
  Json config = FlashConfig();
  config.update(Json::parse(R"({
    "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128, "q_lora_rank": 1536,
    "o_groups": 16, "index_topk": 1024, "n_routed_experts": 384, "moe_intermediate_size": 3072,
    "routed_scaling_factor": 2.5, "expert_dtype": "fp4"})"));
  std::vector<int> ratios = {128, 128};
  for (int i = 2; i < 61; ++i) ratios.push_back(i % 2 == 0 ? 4 : 128);
  ratios.push_back(0);
  config["compress_ratios"] = ratios;
  return config;
}

std::string ErrorOf(const Json& config) {
  const auto read = ModelConfig::FromJson(config.dump());
  return std::string(read.status().message());
}

TEST(ModelConfigTest, ReadsTheReleasedFlashConfig) {
  const auto config = ModelConfig::FromJson(FlashConfig().dump());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->hidden_size, 4096);
  EXPECT_EQ(config->num_hidden_layers, 43);
  EXPECT_EQ(config->compress_ratios.size(), 43u);
  EXPECT_EQ(config->layer_kind(1), LayerKind::kSwa);
  EXPECT_EQ(config->layer_kind(2), LayerKind::kCsa);
  EXPECT_EQ(config->layer_kind(41), LayerKind::kHca);
  EXPECT_TRUE(config->uses_hash_router(2));
  EXPECT_FALSE(config->uses_hash_router(3));
  EXPECT_EQ(config->routed_scaling_factor, 1.5);
  EXPECT_EQ(config->compress_rope_theta, 160000);
  EXPECT_EQ(config->rope_scaling.original_max_position_embeddings, 65536);
}

TEST(ModelConfigTest, ReadsTheReleasedProConfig) {
  const auto config = ModelConfig::FromJson(ProConfig().dump());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->hidden_size, 7168);
  EXPECT_EQ(config->layer_kind(0), LayerKind::kHca);
  EXPECT_EQ(config->num_attention_heads / config->o_groups, 8);
  EXPECT_EQ(config->index_topk, 1024);
}

TEST(ModelConfigTest, ReadsTheTinyFolderWithItsGenerationDefaults) {
  const auto config = ModelConfig::FromFolder(TANDEM_SOURCE_DIR "/deploy/models/tiny-v4");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->vocab_size, 1920);
  EXPECT_EQ(config->default_temperature, 1.0);
  EXPECT_EQ(config->default_top_p, 1.0);
}

struct Broken {
  const char* field;
  Json value;
};

std::vector<Broken> BrokenSizes() {
  return {
      {"hidden_size", 4000},
      {"hidden_size", -128},
      {"hidden_size", 1e300},
      {"hidden_size", "4096"},
      {"hidden_size", 4096.5},
      {"num_hidden_layers", 0},
      {"num_hidden_layers", 1025},
      {"vocab_size", 0},
      {"vocab_size", 18446744073709551615u},
      {"head_dim", 256},
      {"qk_rope_head_dim", 128},
      {"index_head_dim", 64},
      {"sliding_window", 512},
      {"hc_mult", 2},
      {"num_key_value_heads", 8},
      {"num_experts_per_tok", 257},
      {"num_experts_per_tok", 0},
      {"n_routed_experts", 1 << 20},
      {"q_lora_rank", 100},
      {"o_lora_rank", 64},
      {"o_groups", 0},
      {"o_groups", 7},
      {"o_groups", 128},
      {"moe_intermediate_size", 200},
      {"index_topk", 0},
      {"index_n_heads", -1},
  };
}

std::vector<Broken> BrokenConstants() {
  return {
      {"n_shared_experts", 2},
      {"scoring_func", "sigmoid"},
      {"topk_method", "greedy"},
      {"hidden_act", "gelu"},
      {"norm_topk_prob", false},
      {"model_type", "llama"},
      {"expert_dtype", "fp8"},
      {"tie_word_embeddings", true},
      {"attention_bias", true},
      {"rms_norm_eps", 0},
      {"rms_norm_eps", "1e-6"},
      {"hc_eps", -1},
      {"hc_sinkhorn_iters", 0},
      {"rope_theta", 0},
      {"compress_rope_theta", nullptr},
      {"swiglu_limit", -10},
      {"routed_scaling_factor", 0},
      {"max_position_embeddings", 0},
      {"max_position_embeddings", 1 << 25},
      {"bos_token_id", -1},
      {"eos_token_id", 129280},
      {"num_hash_layers", -1},
      {"compress_ratios", Json::array({0, 0, 4})},
      {"compress_ratios", 4},
      {"compress_ratios", std::vector<int>(43, 8)},
      {"compress_ratios", std::vector<std::string>(43, "4")},
  };
}

void ExpectNamed(const std::vector<Broken>& cases) {
  for (const Broken& c : cases) {
    Json config = FlashConfig();
    config[c.field] = c.value;
    const std::string error = ErrorOf(config);
    EXPECT_THAT(error, AllOf(HasSubstr(c.field), HasSubstr("must be"), HasSubstr("got")))
        << c.value;
    EXPECT_EQ(error.find('\n'), std::string::npos);
    EXPECT_LT(error.size(), 300u);
  }
}

TEST(ModelConfigTest, NamesFieldLimitAndValueOfSizesOutOfRange) {
  ExpectNamed(BrokenSizes());
}

TEST(ModelConfigTest, NamesFieldLimitAndValueOfConstantsOutOfRange) {
  ExpectNamed(BrokenConstants());
}

TEST(ModelConfigTest, NamesNestedFields) {
  Json config = FlashConfig();
  config["rope_scaling"]["type"] = "linear";
  EXPECT_EQ(ErrorOf(config), "config.json: rope_scaling.type must be \"yarn\", got \"linear\"");
  config = FlashConfig();
  config["rope_scaling"]["beta_slow"] = 64;
  EXPECT_THAT(ErrorOf(config), HasSubstr("beta_slow must be below beta_fast (32), got 64"));
  config = FlashConfig();
  config["quantization_config"]["weight_block_size"] = {32, 32};
  EXPECT_THAT(ErrorOf(config), HasSubstr("weight_block_size must be [128,128], got [32,32]"));
  config = FlashConfig();
  config["quantization_config"] = "none";
  EXPECT_THAT(ErrorOf(config), HasSubstr("quantization_config.quant_method is missing"));
}

TEST(ModelConfigTest, NamesEveryFieldThatMayNotBeMissing) {
  const Json whole = FlashConfig();
  const std::vector<std::string> optional = {
      "architectures",     "attention_bias", "attention_dropout",        "hidden_act",
      "initializer_range", "norm_topk_prob", "num_nextn_predict_layers", "tie_word_embeddings",
      "topk_method",       "torch_dtype",    "transformers_version",     "use_cache"};
  for (const auto& [field, value] : whole.items()) {
    Json config = whole;
    config.erase(field);
    const std::string error = ErrorOf(config);
    const bool needed = std::find(optional.begin(), optional.end(), field) == optional.end();
    if (needed) {
      EXPECT_THAT(error, HasSubstr(field));
      EXPECT_THAT(error, HasSubstr("is missing"));
    } else {
      EXPECT_EQ(error, "");
    }
  }
}

TEST(ModelConfigTest, RefusesTextThatIsNoObject) {
  for (const char* text :
       {"", "[]", "3", "{", "{\"a\":}", "\xff\xfe", "{\"hidden_size\": 1e999}"}) {
    EXPECT_FALSE(ModelConfig::FromJson(text).ok()) << text;
  }
  const std::string deep(1 << 17, '[');
  EXPECT_FALSE(ModelConfig::FromJson(deep).ok());
}

TEST(ModelConfigTest, SurvivesEveryFlippedByte) {
  const std::string text = FlashConfig().dump();
  constexpr char kFlips[] = {'\x01', '\x10', '\x80'};
  size_t refused = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    std::string broken = text;
    broken[i] ^= kFlips[i % 3];
    const auto config = ModelConfig::FromJson(broken);
    if (config.ok()) continue;
    ++refused;
    EXPECT_EQ(config.status().message().find('\n'), absl::string_view::npos);
  }
  EXPECT_GT(refused, text.size() / 2);
}

TEST(ModelConfigTest, SaysWhichFolderHasNoConfig) {
  const auto config = ModelConfig::FromFolder("/nonexistent");
  EXPECT_TRUE(absl::IsNotFound(config.status()));
  EXPECT_THAT(std::string(config.status().message()), HasSubstr("/nonexistent/config.json"));
}

}  // namespace
}  // namespace tandem
