// SPDX-License-Identifier: Apache-2.0
// Goal: the arguments of the three processes mean what --help says. Method: exit codes and what is
// printed.
#include "services/runtime/config/program.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

const Program kProgram = {.name = "tandem-test", .role = "test", .purpose = "tests"};

std::variant<RunWith, Exit> Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "tandem-test");
  return ParseArguments(kProgram, static_cast<int>(arguments.size()), arguments.data());
}

TEST(ProgramTest, ConfigIsTakenInBothForms) {
  EXPECT_EQ(std::get<RunWith>(Parse({"--config", "a"})).config_path, "a");
  const RunWith wanted = std::get<RunWith>(Parse({"--config=b", "--validate-config"}));
  EXPECT_EQ(wanted.config_path, "b");
  EXPECT_TRUE(wanted.validate_only);
}

TEST(ProgramTest, WrongArgumentsExitWithTwoAndOneLine) {
  for (const auto& arguments : std::vector<std::vector<const char*>>{
           {}, {"--config"}, {"--confg", "a"}, {"a.textproto"}, {"--validate-config"}}) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(std::get<Exit>(Parse(arguments)).code, 2);
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1);
  }
}

TEST(ProgramTest, HelpAndVersionAreNoErrors) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(std::get<Exit>(Parse({"--help"})).code, 0);
  EXPECT_EQ(std::get<Exit>(Parse({"--version"})).code, 0);
  EXPECT_THAT(testing::internal::GetCapturedStdout(),
              testing::HasSubstr("tandem-test " + Version()));
}

}  // namespace
}  // namespace tandem
