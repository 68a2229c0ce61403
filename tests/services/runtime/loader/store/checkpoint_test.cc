// SPDX-License-Identifier: Apache-2.0
// Goal: shards and index agree tensor by tensor, and nothing outside the folder is opened.
// Method: small folders with hand-written headers and indices.
#include "services/runtime/loader/store/checkpoint.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/services/runtime/loader/scratch_folder.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

std::string OneTensor(const std::string& name) {
  return Safetensors("{\"" + name + R"(":{"dtype":"I8","shape":[8],"data_offsets":[0,8]}})", 8);
}

class CheckpointTest : public ::testing::Test {
 protected:
  CheckpointTest() {
    WriteAll(folder_ / "1.safetensors", OneTensor("a"));
    WriteAll(folder_ / "2.safetensors", OneTensor("b"));
  }
  std::string ErrorOf(const std::string& index) {
    WriteAll(folder_ / "model.safetensors.index.json", index);
    auto checkpoint = Checkpoint::Open(folder_.path());
    EXPECT_FALSE(checkpoint.ok()) << index;
    return std::string(checkpoint.status().message());
  }

  ScratchFolder folder_;
};

TEST_F(CheckpointTest, JoinsTheShardsOfAnIndex) {
  WriteAll(
      folder_ / "model.safetensors.index.json",
      R"({"metadata":{"total_size":16},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  auto checkpoint = Checkpoint::Open(folder_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->tensors().size(), 2u);
  EXPECT_TRUE(checkpoint->Find({.name = "b"}).ok());
  EXPECT_TRUE(absl::IsNotFound(checkpoint->Find({.name = "c"}).status()));
}

TEST_F(CheckpointTest, ReadsTheOneFileWhereThereIsNoIndex) {
  WriteAll(folder_ / "model.safetensors", OneTensor("only"));
  auto checkpoint = Checkpoint::Open(folder_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_TRUE(checkpoint->Find({.name = "only"}).ok());
}

TEST_F(CheckpointTest, NamesWhereIndexAndShardsDisagree) {
  EXPECT_THAT(
      ErrorOf(R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors","c":"2.safetensors"}})"),
      HasSubstr("tensor c is not in 2.safetensors"));
  EXPECT_THAT(ErrorOf(R"({"weight_map":{"a":"1.safetensors","c":"2.safetensors"}})"),
              HasSubstr("does not say that tensor b is in 2.safetensors"));
  EXPECT_THAT(ErrorOf(R"({"weight_map":{"a":"2.safetensors","b":"1.safetensors"}})"),
              HasSubstr("does not say that tensor a is in 1.safetensors"));
}

TEST_F(CheckpointTest, RefusesATensorInTwoShards) {
  WriteAll(folder_ / "2.safetensors", OneTensor("a"));
  EXPECT_THAT(ErrorOf(R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})"),
              HasSubstr("tensor a is in another shard too"));
}

TEST_F(CheckpointTest, OpensNothingOutsideTheFolder) {
  for (const char* file : {"../1.safetensors", "/etc/passwd", "..\\\\1.safetensors", "", "x.bin",
                           "sub/1.safetensors", "1.safetensors\\u0000.safetensors"}) {
    EXPECT_THAT(ErrorOf(std::string(R"({"weight_map":{"a":")") + file + "\"}}"),
                HasSubstr("must name a .safetensors file of this folder"))
        << file;
  }
  EXPECT_THAT(ErrorOf(R"({"weight_map":{"a":3}})"), HasSubstr("tensor a: must name"));
}

TEST_F(CheckpointTest, RefusesWhatIsNoIndex) {
  for (const char* index : {"", "{", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{}})"}) {
    EXPECT_THAT(ErrorOf(index), HasSubstr("model.safetensors.index.json: must be a JSON object"));
  }
  EXPECT_THAT(ErrorOf(R"({"weight_map":{"a":"3.safetensors"}})"),
              HasSubstr("3.safetensors: cannot be opened"));
}

}  // namespace
}  // namespace tandem
