// SPDX-License-Identifier: Apache-2.0
// Goal: text equals json.dumps(json.loads(x), ensure_ascii=False) of Python 3, and limits hold.
// Method: pairs printed by Python 3.11.
#include "services/runtime/text/chat/python_json.h"

#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

TEST(PythonJsonTest, WritesWhatPythonWrites) {
  const std::pair<const char*, const char*> cases[] = {
      {"null", "null"},
      {" [ true,false , null ] ", "[true, false, null]"},
      {R"({"b":1,"a":{"c":[]},"d":{}})", R"({"b": 1, "a": {"c": []}, "d": {}})"},
      {R"({"a":1,"b":2,"a":3})", R"({"a": 3, "b": 2})"},
      {R"("\u00e9\u4e2d\ud83d\ude00\/")", R"("é中😀/")"},
      {R"("\u0000\u001f\u007f\b\f\n\r\t\"\\")", "\"\\u0000\\u001f\x7f\\b\\f\\n\\r\\t\\\"\\\\\""},
      {"[0, -0, 12, -7, 18446744073709551615, -9223372036854775808]",
       "[0, 0, 12, -7, 18446744073709551615, -9223372036854775808]"},
      {"123456789012345678901234567890", "123456789012345678901234567890"},
      {"-123456789012345678901234567890", "-123456789012345678901234567890"},
      {"[1.0, -0.0, 0.1, 2.50, 1e3, 1E-2]", "[1.0, -0.0, 0.1, 2.5, 1000.0, 0.01]"},
      {"[1e15, 1e16, 123456789012345678.0, 1.5e300]",
       "[1000000000000000.0, 1e+16, 1.2345678901234568e+17, 1.5e+300]"},
      {"[0.0001, 0.00001, 1e-7, 5e-324, -3e10]", "[0.0001, 1e-05, 1e-07, 5e-324, -30000000000.0]"},
  };
  for (const auto& [read, written] : cases) {
    const auto json = ParseJson(read);
    ASSERT_TRUE(json.ok()) << read << json.status();
    EXPECT_EQ(PythonDumps(*json), written);
  }
}

TEST(PythonJsonTest, RefusesWhatIsNoJson) {
  for (const char* text : {"", "{", "{\"a\" 1}", "[1,]", "nul", "1 2", "'a'", "\"\xff\"", "NaN",
                           R"("\ud800")", "1e999", "\"a\nb\""}) {
    EXPECT_EQ(ParseJson(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(PythonJsonTest, HoldsItsLimits) {
  EXPECT_TRUE(ParseJson(std::string(kMaxJsonDepth, '[') + std::string(kMaxJsonDepth, ']')).ok());
  EXPECT_THAT(std::string(ParseJson(std::string(1000000, '[')).status().message()),
              HasSubstr("levels"));
  std::string keys = "{";
  for (int i = 0; i <= kMaxJsonKeys; ++i)
    keys += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":0";
  EXPECT_THAT(std::string(ParseJson(keys + "}").status().message()), HasSubstr("keys"));
}

}  // namespace
}  // namespace tandem
