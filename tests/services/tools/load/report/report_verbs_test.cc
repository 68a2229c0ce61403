// SPDX-License-Identifier: Apache-2.0
// Goal: exit codes that a CI script can trust, and one clear line for every wrong argument or file.
// Method: the verbs themselves on files that the test wrote; what they print is caught.
#include "services/tools/load/report/report_verbs.h"

#include <unistd.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/tools/load/files/result_csv.h"
#include "services/tools/load/files/result_json.h"
#include "services/tools/read_file.h"
#include "tests/services/tools/load/files/sample_result.h"
#include "tests/services/tools/run_verb.h"

namespace tandem {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string PathOf(const std::string& name) {
  return absl::StrCat(testing::TempDir(), "/verbs", getpid(), "_", name);
}

std::string Written(const std::string& name, const SampleLoad& load) {
  const std::string path = PathOf(name);
  EXPECT_TRUE(WriteResultFile(path, {SampleResult(load)}).ok());
  return path;
}

TEST(ReportVerbsTest, CompareAnswersByItsExitCode) {
  const std::string a = Written("a.json", {.seed = 1});
  const std::string b = Written("b.json", {.seed = 2, .slowness = 1.3});
  EXPECT_EQ(RunVerb(RunLoadCompare, {a, a}).code, 0);
  const Said worse = RunVerb(RunLoadCompare, {a, b});
  EXPECT_EQ(worse.code, 1);
  EXPECT_THAT(worse.out, HasSubstr("B is worse than A by more than 5.00 %"));
  EXPECT_EQ(RunVerb(RunLoadCompare, {b, a}).code, 0);
  EXPECT_EQ(RunVerb(RunLoadCompare, {a, "--threshold", "60", b}).code, 0);
  EXPECT_EQ(RunVerb(RunLoadCompare, {"--threshold=10", a, b}).code, 1);
}

TEST(ReportVerbsTest, EveryWrongArgumentIsNamed) {
  const std::string a = Written("a.json", {});
  const auto compare = [](const std::vector<std::string>& arguments) {
    const Said said = RunVerb(RunLoadCompare, arguments);
    EXPECT_EQ(said.code, 2);
    return said.err;
  };
  EXPECT_THAT(compare({a}), HasSubstr("takes two result files, got 1"));
  EXPECT_THAT(compare({a, a, "--threshold", "x"}), HasSubstr("--threshold: \"x\" is no number"));
  EXPECT_THAT(compare({a, a, "--threshold", "-1"}), HasSubstr("--threshold: -1 is not from 0"));
  EXPECT_THAT(compare({a, a, "--threshold", "nan"}), HasSubstr("--threshold: nan is not"));
  EXPECT_THAT(compare({a, a, "--threshold"}), HasSubstr("--threshold needs a value"));
  EXPECT_THAT(compare({a, a, "--treshold", "3"}), HasSubstr("unknown argument \"--treshold\""));
  EXPECT_THAT(compare({a, "/nowhere.json"}), HasSubstr("/nowhere.json: No such file"));
  std::ofstream(PathOf("bad.json")) << "{\"schema\": \"tandem.load/1\"}";
  EXPECT_THAT(compare({a, PathOf("bad.json")}), HasSubstr("bad.json: label: is missing"));
  const Said said = RunVerb(RunLoadReport, {});
  EXPECT_EQ(said.code, 2);
  EXPECT_THAT(said.err, HasSubstr("at least one result file"));
  EXPECT_EQ(RunVerb(RunLoadReport, {a, "--html", "/nowhere/x.html"}).code, 2);
}

TEST(ReportVerbsTest, ReportPrintsTablesOrWritesFiles) {
  const std::string a = Written("a.json", {.rate = 10});
  const std::string b = Written("b.json", {.rate = 20});
  const Said tables = RunVerb(RunLoadReport, {a, b});
  EXPECT_EQ(tables.code, 0);
  EXPECT_THAT(tables.out, HasSubstr("rate 10 on tiny-v4"));
  EXPECT_THAT(tables.out, HasSubstr("\nrate 20.0 "));
  const std::string page = PathOf("page.html");
  const std::string rows = PathOf("rows.csv");
  unlink(rows.c_str());
  const Said files = RunVerb(RunLoadReport, {a, b, "--html", page, "--csv", rows});
  EXPECT_EQ(files.code, 0);
  EXPECT_EQ(files.out, "");
  EXPECT_THAT(ReadFile(page).value_or(""), StartsWith("<!DOCTYPE html>"));
  EXPECT_THAT(ReadFile(rows).value_or(""), StartsWith(CsvHeader() + "rate 10,"));
}

TEST(ReportVerbsTest, BothHaveHelp) {
  EXPECT_THAT(RunVerb(RunLoadCompare, {"--help"}).out, HasSubstr("--threshold PERCENT"));
  EXPECT_THAT(RunVerb(RunLoadReport, {"--help"}).out, HasSubstr("--html FILE"));
}

}  // namespace
}  // namespace tandem
