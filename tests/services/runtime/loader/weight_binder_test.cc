// SPDX-License-Identifier: Apache-2.0
// Goal: every tensor of a checkpoint is bound, or the error names it and what is wrong with it.
// Method: the smallest random checkpoint, its header or bytes changed in one place; the released
// tiny one as it is.
#include "services/runtime/loader/weight_binder.h"

#include <string>

#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "services/runtime/loader/store/checkpoint.h"
#include "tests/services/runtime/loader/scratch_folder.h"

namespace tandem {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Checkpoint d as one file that a test changes before it is written.
class WeightBinderTest : public ::testing::Test {
 protected:
  WeightBinderTest() {
    const std::string bytes =
        ReadAll(TANDEM_GOLDEN_DIR "/random-d/model-00001-of-00001.safetensors");
    uint64_t length = 0;
    bytes.copy(reinterpret_cast<char*>(&length), sizeof(length));
    header_ = Json::parse(bytes.substr(8, length));
    data_ = bytes.substr(8 + length);
    config_ = *ModelConfig::FromFolder(TANDEM_GOLDEN_DIR "/random-d");
  }

  absl::Status Bind() {
    const std::string header = header_.dump();
    WriteAll(folder_ / "model.safetensors", Safetensors(header, 0) + data_);
    auto checkpoint = Checkpoint::Open(folder_.path());
    if (!checkpoint.ok()) return checkpoint.status();
    return BindWeights(*checkpoint, config_, {}).status();
  }
  std::string Error() { return std::string(Bind().message()); }

  void Rename(const std::string& from, const std::string& to) {
    header_[to] = header_[from];
    header_.erase(from);
  }
  char& Byte(const std::string& tensor, size_t index) {
    return data_[header_[tensor]["data_offsets"][0].get<size_t>() + index];
  }

  ScratchFolder folder_;
  Json header_;
  std::string data_;
  ModelConfig config_;
};

TEST_F(WeightBinderTest, BindsEveryTensorOfTheTinyCheckpoint) {
  const std::string folder = TANDEM_SOURCE_DIR "/deploy/models/tiny-v4";
  auto checkpoint = Checkpoint::Open(folder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto config = ModelConfig::FromFolder(folder);
  const auto bound = BindWeights(*checkpoint, *config, {});
  ASSERT_TRUE(bound.ok()) << bound.status();
  const Weights& w = bound->weights;
  ASSERT_EQ(w.layers.size(), 6u);
  EXPECT_FALSE(w.layers[0].attn.compressor.has_value());
  EXPECT_TRUE(w.layers[1].attn.indexer.has_value());
  EXPECT_TRUE(w.layers[2].attn.compressor.has_value());
  EXPECT_FALSE(w.layers[2].attn.indexer.has_value());
  EXPECT_NE(w.layers[0].ffn.gate_tid2eid.data, nullptr);
  EXPECT_NE(w.layers[1].ffn.gate_bias.data, nullptr);
  EXPECT_EQ(w.layers[5].ffn.experts.size(), 16u);
}

TEST_F(WeightBinderTest, BindsTheSmallestCheckpoint) {
  EXPECT_EQ(Bind(), absl::OkStatus());
}

TEST_F(WeightBinderTest, NamesMissingAndExtraTensors) {
  Rename("layers.1.attn.q_norm.weight", "layers.1.attn.qnorm.weight");
  EXPECT_THAT(Error(), AllOf(HasSubstr("layers.1.attn.q_norm.weight is missing"),
                             HasSubstr("layers.1.attn.qnorm.weight has no place in the model")));
}

TEST_F(WeightBinderTest, NamesWrongShapeAndWrongDtype) {
  header_["norm.weight"]["shape"] = {2, 64};
  EXPECT_THAT(Error(), HasSubstr("norm.weight must be BF16 [128], got BF16 [2, 64]"));
  header_["norm.weight"]["shape"] = {64};
  header_["norm.weight"]["dtype"] = "F32";
  EXPECT_THAT(Error(), HasSubstr("norm.weight must be BF16 [128], got F32 [64]"));
}

TEST_F(WeightBinderTest, NamesEveryTensorWithoutPlaceUpToTen) {
  config_.num_hidden_layers = 2;
  config_.compress_ratios.resize(2);
  const std::string error = Error();
  EXPECT_THAT(error, HasSubstr("layers.2.attn.attn_sink has no place in the model"));
  EXPECT_THAT(error, HasSubstr(" more"));
  EXPECT_LT(error.size(), 1000u);
}

TEST_F(WeightBinderTest, AnAbsurdConfigFaultsQuickly) {
  config_.num_hidden_layers = 1024;
  config_.compress_ratios.resize(1024, 4);
  config_.n_routed_experts = 4096;
  EXPECT_THAT(Error(), HasSubstr("; and "));
}

TEST_F(WeightBinderTest, SetsTheDrafterAside) {
  const size_t end = data_.size();
  data_ += std::string(16, '\0');
  header_["mtp.0.enorm.weight"] = {
      {"dtype", "BF16"}, {"shape", {8}}, {"data_offsets", {end, end + 16}}};
  EXPECT_EQ(Bind(), absl::OkStatus());
}

TEST_F(WeightBinderTest, RefusesHashTablesThatNameNoExpert) {
  Byte("layers.0.ffn.gate.tid2eid", 8 * 5) = 2;
  EXPECT_THAT(Error(),
              HasSubstr("layers.0.ffn.gate.tid2eid must hold experts from 0 to 1, element 5 is 2"));
  Byte("layers.0.ffn.gate.tid2eid", 8 * 5 + 7) = '\x80';
  EXPECT_THAT(Error(), HasSubstr("element 5 is -"));
}

TEST_F(WeightBinderTest, ReadsTensorsAtOddAddresses) {
  // The header's length shifts all data by one byte against the file's start.
  header_["__metadata__"]["format"] = "p";
  while ((8 + header_.dump().size()) % 2 == 0) {
    header_["__metadata__"]["pad"] = header_["__metadata__"].value("pad", "") + " ";
  }
  EXPECT_EQ(Bind(), absl::OkStatus());
}

}  // namespace
}  // namespace tandem
