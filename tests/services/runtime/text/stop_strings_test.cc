// SPDX-License-Identifier: Apache-2.0
// Goal: the first complete stop string ends the text, wherever it is cut; nothing more is held back
// than may be needed. Method: known cases; random texts over two letters against a search by
// definition; hostile repetition.
#include "services/runtime/text/stop_strings.h"

#include <random>
#include <string>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/services/runtime/text/golden.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

TEST(StopStringsTest, StopsAcrossDeltasAndShowsNothingOfTheStop) {
  auto stops = StopStrings::Create({"END", "\n\n"});
  ASSERT_TRUE(stops.ok());
  EXPECT_EQ(stops->Append("one E"), "one ");
  EXPECT_EQ(stops->Append("N"), "");
  EXPECT_EQ(stops->Append("EEN"), "ENE");
  EXPECT_FALSE(stops->stopped());
  EXPECT_EQ(stops->Append("D and more"), "");
  EXPECT_EQ(stops->stopped_by(), "END");
  EXPECT_EQ(stops->Append("more"), "");
  EXPECT_EQ(stops->Flush(), "");
}

TEST(StopStringsTest, GivesBackWhatItHeldWhenTheStreamEnds) {
  auto stops = StopStrings::Create({"END"});
  EXPECT_EQ(stops->Append("the EN"), "the ");
  EXPECT_EQ(stops->Flush(), "EN");
  EXPECT_FALSE(stops->stopped());
}

TEST(StopStringsTest, WithoutStringsLetsEverythingThrough) {
  auto stops = StopStrings::Create({});
  EXPECT_EQ(stops->Append("text"), "text");
  EXPECT_EQ(stops->Flush(), "");
}

TEST(StopStringsTest, RefusesEmptyLongAndTooManyStrings) {
  const std::vector<std::vector<std::string>> wrong = {
      {"a", ""}, {std::string(1025, 'a')}, std::vector<std::string>(65, "a")};
  for (const auto& strings : wrong) {
    const auto stops = StopStrings::Create(strings);
    EXPECT_EQ(stops.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(stops.status().message()), HasSubstr("stop"));
  }
}

// The text before the stop that is complete first, the longest of those; the whole text if there is
// none.
std::string ByDefinition(const std::vector<std::string>& strings, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& s : strings) {
      if (s.size() <= end && text.compare(end - s.size(), s.size(), s) == 0) {
        longest = std::max(longest, s.size());
      }
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

TEST(StopStringsTest, EqualsTheDefinitionForRandomTextsAndCuts) {
  std::mt19937 random(3);
  const auto letters = [&random](size_t size) {
    std::string s(size, 'a');
    for (char& c : s) c = random() % 2 == 0 ? 'a' : 'b';
    return s;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> strings;
    for (size_t i = 0; i < 1 + random() % 3; ++i) strings.push_back(letters(2 + random() % 6));
    const std::string text = letters(random() % 40);
    auto stops = StopStrings::Create(strings);
    std::string shown;
    for (size_t i = 0; i < text.size();) {
      const size_t size = 1 + random() % 5;
      shown += stops->Append(text.substr(i, size));
      i += size;
    }
    shown += stops->Flush();
    ASSERT_EQ(shown, ByDefinition(strings, text)) << text;
  }
}

TEST(StopStringsTest, StaysLinearOnHostileText) {
  const std::string almost(kMaxStopStringBytes - 1, 'a');
  auto stops = StopStrings::Create({almost + "b", almost.substr(1) + "c"});
  ASSERT_TRUE(stops.ok());
  const absl::Duration start = CpuTime();
  size_t shown = 0;
  for (int i = 0; i < 500000; ++i) shown += stops->Append("a").size();
  EXPECT_EQ(shown + stops->Flush().size(), 500000U);
  EXPECT_LT(CpuTime() - start, absl::Seconds(8));
}

}  // namespace
}  // namespace tandem
