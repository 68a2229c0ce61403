// SPDX-License-Identifier: Apache-2.0
// Goal: DeepSeek's patterns pass, and every construct that the dialects may read differently is
// refused by name.
#include "services/runtime/text/bpe/regex_dialect.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

TEST(RegexDialectTest, KeepsWhatIsCommonToBoth) {
  for (const char* same : {R"(\p{N}{1,3})", R"([^\r\n\p{L}]?[\p{L}\p{M}]+| ?[!"#$%&\[\]\\-]+)",
                           R"((?:a|b)(?=c)(?!d)(e))", "[一-龥]+", R"(\(\*\?)"}) {
    EXPECT_EQ(PcrePattern(same).value(), same);
  }
}

TEST(RegexDialectTest, SpellsOutWhiteSpaceInsideAndOutsideClasses) {
  EXPECT_THAT(PcrePattern(R"(\s+(?!\S))").value(), HasSubstr(R"(\x{205f}\x{3000}]+(?![^\x{9}-)"));
  EXPECT_THAT(PcrePattern(R"([^\sa])").value(), HasSubstr(R"([^\x{9}-\x{d})"));
}

TEST(RegexDialectTest, RefusesWhatTheDialectsReadDifferently) {
  for (const char* refused :
       {R"(\w)", R"(\b)", R"(\h)", R"(\R)", R"(\X)", R"(\A)", R"(\1)", R"([\S])", "[a[b]]",
        "[a&&b]", "[[:alpha:]]", "(?i:a)", "(?<a>b)", "(?<=a)b", "(?>a)", "(*UTF)", "a\\"}) {
    const auto result = PcrePattern(refused);
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument) << refused;
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(refused));
  }
}

}  // namespace
}  // namespace tandem
