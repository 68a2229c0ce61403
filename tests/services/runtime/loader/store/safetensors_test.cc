// SPDX-License-Identifier: Apache-2.0
// Goal: a table of tensors is read exactly, or refused with one line that names file, tensor and
// fault. Method: hand-written headers, each with one fault.
#include "services/runtime/loader/store/safetensors.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/services/runtime/loader/scratch_folder.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

class SafetensorsTest : public ::testing::Test {
 protected:
  absl::StatusOr<SafetensorsFile> Open(const std::string& bytes) {
    WriteAll(folder_ / "x.safetensors", bytes);
    return SafetensorsFile::Open(folder_ / "x.safetensors");
  }
  std::string ErrorOf(const std::string& header, size_t data_bytes = 8) {
    const auto file = Open(Safetensors(header, data_bytes));
    EXPECT_FALSE(file.ok()) << header;
    EXPECT_THAT(std::string(file.status().message()), HasSubstr("x.safetensors"));
    return std::string(file.status().message());
  }

  ScratchFolder folder_;
};

TEST_F(SafetensorsTest, ReadsEveryDtypeOfReleasedCheckpoints) {
  const auto file = Open(Safetensors(R"({"__metadata__":{"format":"pt"},
    "a":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[0,4]},
    "b":{"dtype":"F8_E8M0","shape":[4],"data_offsets":[4,8]},
    "c":{"dtype":"I8","shape":[1],"data_offsets":[8,9]},
    "d":{"dtype":"BF16","shape":[3],"data_offsets":[9,15]},
    "e":{"dtype":"F32","shape":[1,1],"data_offsets":[15,19]},
    "f":{"dtype":"I64","shape":[],"data_offsets":[19,27]},
    "g":{"dtype":"F32","shape":[0,5],"data_offsets":[27,27]}})",
                                     27));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors().size(), 7u);
  EXPECT_EQ(file->tensors().at("d").dtype, Dtype::kBf16);
  EXPECT_EQ(file->tensors().at("d").bytes.size(), 6u);
  EXPECT_EQ(file->tensors().at("a").shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(file->tensors().at("b").bytes.data() - file->tensors().at("a").bytes.data(), 4);
}

TEST_F(SafetensorsTest, NamesTensorAndFault) {
  const struct {
    const char* entry;
    const char* fault;
  } cases[] = {
      {R"({"dtype":"F16","shape":[4],"data_offsets":[0,8]})", "dtype must be one of"},
      {R"({"dtype":7,"shape":[4],"data_offsets":[0,8]})", "dtype must be one of"},
      {R"({"shape":[4],"data_offsets":[0,8]})", "dtype must be one of"},
      {R"({"dtype":"I8","data_offsets":[0,8]})", "shape must be"},
      {R"({"dtype":"I8","shape":[-8],"data_offsets":[0,8]})", "shape must be"},
      {R"({"dtype":"I8","shape":[8.0],"data_offsets":[0,8]})", "shape must be"},
      {R"({"dtype":"I8","shape":[1,1,1,1,1,1,1,1,8],"data_offsets":[0,8]})", "shape must be"},
      {R"({"dtype":"I8","shape":[18446744073709551615],"data_offsets":[0,8]})", "shape must be"},
      {R"({"dtype":"I8","shape":[8],"data_offsets":[0]})", "data_offsets must be two"},
      {R"({"dtype":"I8","shape":[8],"data_offsets":[0,9]})", "must lie in the file's 8 data bytes"},
      {R"({"dtype":"I8","shape":[8],"data_offsets":[8,0]})", "must lie in the file's 8 data bytes"},
      {R"({"dtype":"I8","shape":[7],"data_offsets":[0,8]})", "need 7 bytes, data_offsets give 8"},
      {R"({"dtype":"I64","shape":[4611686018427387904,8],"data_offsets":[0,8]})", "more than 2^63"},
      {R"([1])", "must be described by an object"},
  };
  for (const auto& c : cases) {
    const std::string error = ErrorOf(std::string(R"({"bad\nname":)") + c.entry + "}");
    EXPECT_THAT(error, HasSubstr("tensor bad\\nname")) << c.entry;
    EXPECT_THAT(error, HasSubstr(c.fault)) << c.entry;
    EXPECT_EQ(error.find('\n'), std::string::npos);
  }
}

TEST_F(SafetensorsTest, RefusesGapsAndOverlaps) {
  const std::string a = R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},)";
  EXPECT_THAT(ErrorOf(a + R"("b":{"dtype":"I8","shape":[3],"data_offsets":[5,8]}})"),
              HasSubstr("at byte 4"));
  EXPECT_THAT(ErrorOf(a + R"("b":{"dtype":"I8","shape":[5],"data_offsets":[3,8]}})"),
              HasSubstr("at byte 4"));
  EXPECT_THAT(ErrorOf(a + R"("b":{"dtype":"I8","shape":[3],"data_offsets":[4,7]}})"),
              HasSubstr("at byte 7"));
  EXPECT_THAT(ErrorOf("{}"), HasSubstr("at byte 0"));
}

TEST_F(SafetensorsTest, RefusesHeadersThatDoNotFit) {
  EXPECT_FALSE(Open("").ok());
  EXPECT_FALSE(Open("1234567").ok());
  EXPECT_FALSE(Open(std::string(8, '\xff') + "{}").ok());
  EXPECT_FALSE(Open(Safetensors("{\"a\":", 8)).ok());
  EXPECT_FALSE(Open(Safetensors("[]", 8)).ok());
  EXPECT_TRUE(Open(Safetensors("{}", 0)).ok());
  EXPECT_TRUE(absl::IsNotFound(SafetensorsFile::Open(folder_ / "none").status()));
  EXPECT_FALSE(SafetensorsFile::Open(folder_.path()).ok());
}

}  // namespace
}  // namespace tandem
