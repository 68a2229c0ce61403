// SPDX-License-Identifier: Apache-2.0
// Goal: only known keys pass, at their rate, and a changed file counts a second later; a broken one
// changes nothing. Method: files and a clock of the test.
#include "services/router/keys/api_keys.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/rpc/status.h"
#include "tests/services/runtime/loader/scratch_folder.h"

namespace tandem {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;
using ::testing::Not;

// printf secret | sha256sum, and of "other".
constexpr char kSecret[] = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
constexpr char kOther[] = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";

class ApiKeysTest : public ::testing::Test {
 protected:
  void Write(const std::string& text) {
    WriteAll(path_ + ".new", text);
    std::filesystem::rename(path_ + ".new", path_);
  }
  void Load(const std::string& text) {
    Write(text);
    auto keys = ApiKeys::Load(path_, clock_);
    ASSERT_TRUE(keys.ok()) << keys.status();
    keys_ = *std::move(keys);
  }
  std::string NameOf(const std::string& key, const std::string& scheme = "Bearer ") {
    std::string name;
    return keys_->Identify(scheme + key, name).ok() ? name : "nobody";
  }
  absl::Status Admit(const std::string& authorization) {
    std::string name;
    return keys_->Admit(authorization, name);
  }

  const ScratchFolder folder_;
  const std::string path_ = folder_ / "keys";
  ManualClock clock_;
  std::unique_ptr<ApiKeys> keys_;
};

TEST_F(ApiKeysTest, OnlyKnownKeysPass) {
  Load(absl::StrCat("ann ", kSecret, "\nbob ", kOther, "\n"));
  EXPECT_EQ(NameOf("secret"), "ann");
  EXPECT_EQ(NameOf("other"), "bob");
  EXPECT_EQ(NameOf("secret", "bearer "), "ann");
  for (const char* wrong : {"", "Bearer", "Bearer ", "Bearer secre", "Bearer  secret", "secret",
                            "Basic secret", kSecret}) {
    const absl::Status who = Admit(wrong);
    EXPECT_EQ(who.code(), StatusCode::kUnauthenticated) << wrong;
    EXPECT_EQ(ReasonOf(who), "API_KEY");
    EXPECT_THAT(std::string(who.message()), Not(HasSubstr("secre")));
  }
}

TEST_F(ApiKeysTest, ARateIsOneKeysAndSaysWhenToComeBack) {
  Load(absl::StrCat("ann ", kSecret, " 1 2\nbob ", kOther, "\n"));
  EXPECT_TRUE(Admit("Bearer secret").ok());
  EXPECT_TRUE(Admit("Bearer secret").ok());
  const absl::Status refused = Admit("Bearer secret");
  EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), "RATE_LIMIT");
  EXPECT_EQ(DetailsOf(refused).retry.retry_delay().seconds(), 1);
  EXPECT_EQ(NameOf("secret"), "ann") << "asking who one is costs nothing";
  EXPECT_TRUE(Admit("Bearer other").ok());
  clock_.Advance(absl::Seconds(1));
  EXPECT_TRUE(Admit("Bearer secret").ok());
}

TEST_F(ApiKeysTest, AChangedFileCountsASecondLater) {
  Load(absl::StrCat("ann ", kSecret, " 1 1\n"));
  EXPECT_TRUE(Admit("Bearer secret").ok());
  Write(absl::StrCat("ann ", kSecret, " 1 1\nbob ", kOther, "\n"));
  EXPECT_EQ(NameOf("other"), "nobody") << "not looked at yet";
  clock_.Advance(absl::Milliseconds(1000));
  EXPECT_EQ(NameOf("other"), "bob");
  Write("what is this\n");
  clock_.Advance(absl::Seconds(2));
  EXPECT_EQ(NameOf("secret"), "ann") << "a broken file changes nothing";
  std::filesystem::remove(path_);
  clock_.Advance(absl::Seconds(2));
  EXPECT_EQ(NameOf("other"), "bob") << "nor does one that is away";
  Write(absl::StrCat("bob ", kOther, "\n"));
  clock_.Advance(absl::Seconds(2));
  EXPECT_EQ(NameOf("secret"), "nobody");
}

TEST_F(ApiKeysTest, WhatIsLeftOfARateOutlivesAChange) {
  Load(absl::StrCat("ann ", kSecret, " 0.001 1\n"));
  EXPECT_TRUE(Admit("Bearer secret").ok());
  Write(absl::StrCat("ann ", kSecret, " 0.001 1\nbob ", kOther, "\n"));
  clock_.Advance(absl::Seconds(2));
  EXPECT_FALSE(Admit("Bearer secret").ok());
}

TEST_F(ApiKeysTest, AFileThatIsAwayOrWrongAtStartIsAnError) {
  EXPECT_EQ(ApiKeys::Load(path_, clock_).status().code(), StatusCode::kNotFound);
  Write("ann\n");
  const auto keys = ApiKeys::Load(path_, clock_);
  EXPECT_EQ(keys.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(keys.status().message()), HasSubstr(path_));
}

}  // namespace
}  // namespace tandem
