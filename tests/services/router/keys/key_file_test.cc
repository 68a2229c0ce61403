// SPDX-License-Identifier: Apache-2.0
// Goal: a file of API keys says what it says, and one that is wrong names the line, never a key.
#include "services/router/keys/key_file.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// printf secret | sha256sum
constexpr char kHash[] = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

TEST(KeyFileTest, NamesHashesAndRates) {
  const auto keys = ParseKeyFile(absl::StrCat("# who may ask\n\nann ", kHash,
                                              "\t # no limit\r\nbob ", std::string(64, 'A'),
                                              " 2.5\ncat ", std::string(64, 'b'), " 0.5 7\n"));
  ASSERT_TRUE(keys.ok()) << keys.status();
  ASSERT_EQ(keys->size(), 3U);
  EXPECT_TRUE(
      std::isinf(keys->at("\x2b\xb8\x0d\x53\x7b\x1d\xa3\xe3\x8b\xd3\x03\x61\xaa\x85\x56\x86"
                          "\xbd\xe0\xea\xcd\x71\x62\xfe\xf6\xa2\x5f\xe9\x7b\xf5\x27\xa2\x5b")
                     .rate.per_second));
  const ApiKey& bob = keys->at(std::string(32, '\xaa'));
  EXPECT_EQ(bob.name, "bob");
  EXPECT_EQ(bob.rate, (Rate{.per_second = 2.5, .burst = 2.5}));
  EXPECT_EQ(keys->at(std::string(32, '\xbb')).rate, (Rate{.per_second = 0.5, .burst = 7}));
}

TEST(KeyFileTest, WhatIsWrongIsNamed) {
  const std::string hash = kHash;
  const auto says = [](const std::string& text, const std::string& what) {
    const auto keys = ParseKeyFile(text);
    ASSERT_FALSE(keys.ok()) << text;
    EXPECT_THAT(std::string(keys.status().message()), HasSubstr(what));
    EXPECT_THAT(std::string(keys.status().message()), Not(HasSubstr("sk-secret")));
  };
  says("", "holds no key");
  says("# nothing\n", "holds no key");
  says("ann\n", "line 1: NAME SHA256");
  says("\nann sk-secret\n", "line 2: SHA256: 64 hexadecimal digits expected, got 9 bytes");
  says("ann " + hash.substr(1) + "g", "64 hexadecimal digits");
  says("ann " + hash + " 1 2 3", "got 5 words");
  says("ann " + hash + " fast", "REQUESTS_PER_SECOND: \"fast\"");
  says("ann " + hash + " nan", "REQUESTS_PER_SECOND");
  says("ann " + hash + " -1", "REQUESTS_PER_SECOND");
  says("ann " + hash + " 0", "REQUESTS_PER_SECOND");
  says("ann " + hash + " 1 inf", "BURST");
  says(std::string(65, 'n') + " " + hash, "NAME: at most 64 bytes, got 65");
  says("ann " + hash + "\nann " + std::string(64, 'a'), "line 2: a name or a key that an earlier");
  says("ann " + hash + "\nbob " + hash, "line 2: a name or a key that an earlier");
}

}  // namespace
}  // namespace tandem
