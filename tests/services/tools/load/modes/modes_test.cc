// SPDX-License-Identifier: Apache-2.0
// Goal: `tandem load VERB` ends with the exit code that CI needs and says why; what it writes can
// be read. Method: verbs run in this process against a scripted server; stdout and stderr are read.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/tools/load/files/result_json.h"
#include "services/tools/verbs.h"
#include "tests/services/tools/load/drive/fake_inference.h"
#include "tests/services/tools/run_verb.h"

namespace tandem {
namespace {

using testing::HasSubstr;

Said Load(const FakeInference* server, std::vector<std::string> arguments) {
  if (server != nullptr) {
    for (const char* more : {"--prompt-tokens", "8", "--output-tokens", "4", "--target"}) {
      arguments.push_back(more);
    }
    arguments.push_back(server->target());
  }
  return RunVerb(RunLoad, arguments);
}

std::string TempFile(const std::string& name) {
  const std::string path = testing::TempDir() + "/modes_test_" + name;
  std::filesystem::remove(path);
  return path;
}

TEST(LoadModesTest, RunSumsUpAndWritesItsNumbers) {
  const FakeInference server({});
  const std::string json = TempFile("run.json");
  const std::string csv = TempFile("run.csv");
  const Said said = Load(&server, {"run", "--concurrency", "4", "--requests", "20", "--check",
                                   "sim", "--json", json, "--csv", csv});
  EXPECT_EQ(said.code, 0) << said.err;
  EXPECT_THAT(said.out, HasSubstr("20"));
  const auto runs = ReadResultFile(json);
  ASSERT_TRUE(runs.ok()) << runs.status();
  ASSERT_EQ(runs->size(), 1U);
  const LoadResult& result = runs->front();
  EXPECT_EQ(result.counts.completed, 20U);
  EXPECT_EQ(result.concurrency, 4U);
  EXPECT_EQ(result.model, "fake");
  EXPECT_EQ(result.label, "concurrency 4");
  std::ifstream rows(csv);
  std::string line;
  int lines = 0;
  while (std::getline(rows, line)) ++lines;
  EXPECT_EQ(lines, 2);
}

TEST(LoadModesTest, FailedChecksAndErrorsExitWithOne) {
  FakeInference server({.fault = Fault::kForeignToken, .fault_every = 10});
  const Said leak =
      Load(&server, {"run", "--concurrency", "2", "--requests", "20", "--check", "sim"});
  EXPECT_EQ(leak.code, 1);
  EXPECT_THAT(leak.out, HasSubstr("leak"));
  server.Set({.fault = Fault::kError, .fault_every = 10});
  const Said error = Load(&server, {"run", "--concurrency", "2", "--requests", "20"});
  EXPECT_EQ(error.code, 1);
  EXPECT_THAT(error.out, HasSubstr("INTERNAL"));
}

TEST(LoadModesTest, SheddingIsAResult) {
  const FakeInference server({.first_token = absl::Milliseconds(30), .requests_max = 1});
  const Said said = Load(&server, {"run", "--concurrency", "4", "--requests", "30"});
  EXPECT_EQ(said.code, 0) << said.err;
  EXPECT_THAT(said.out, HasSubstr("QUEUE_FULL"));
}

TEST(LoadModesTest, SweepMakesARowForEachRun) {
  const FakeInference server({});
  const std::string json = TempFile("sweep.json");
  const Said said =
      Load(&server, {"sweep", "--rates", "20,40", "--duration", "300ms", "--json", json});
  EXPECT_EQ(said.code, 0) << said.err;
  const auto runs = ReadResultFile(json);
  ASSERT_TRUE(runs.ok()) << runs.status();
  ASSERT_EQ(runs->size(), 2U);
  EXPECT_EQ(runs->at(0).rate_offered, 20);
  EXPECT_EQ(runs->at(0).counts.completed, 6U);
  EXPECT_EQ(runs->at(1).counts.completed, 12U);
}

TEST(LoadModesTest, SearchFindsTheRateThatAServerSheds) {
  // Eight at a time, 0.4 s each: twenty a second. At the lowest rate four run, and a machine may be
  // late by half a second before it is eight.
  const FakeInference server({.first_token = absl::Milliseconds(400), .requests_max = 8});
  const Said said =
      Load(&server, {"search", "--slo", "ttft:60000", "--duration", "1500ms", "--rate-low", "8",
                     "--rate-high", "64", "--precision", "1", "--goodput", "0.95"});
  EXPECT_EQ(said.code, 0) << said.err;
  EXPECT_THAT(said.out, testing::ContainsRegex("highest rate .*: (8|16)/s"));
  EXPECT_THAT(said.out, HasSubstr(" bad"));
}

TEST(LoadModesTest, SoakSaysALineEachInterval) {
  const FakeInference server({});
  const Said said =
      Load(&server, {"soak", "--rate", "20", "--duration", "1s", "--interval", "200ms"});
  EXPECT_EQ(said.code, 0) << said.err;
  EXPECT_THAT(said.out, HasSubstr("client "));
  EXPECT_THAT(said.out, HasSubstr("20"));
}

TEST(LoadModesTest, WhatIsNotIdleFailsTheRun) {
  const FakeInference server({});
  const Said said = Load(&server, {"run", "--concurrency", "1", "--requests", "2", "--check-idle",
                                   "127.0.0.1:1", "--idle-timeout", "100ms"});
  EXPECT_EQ(said.code, 1);
  EXPECT_THAT(said.out + said.err, HasSubstr("127.0.0.1:1"));
}

TEST(LoadModesTest, DryRunPrintsTheScheduleWithoutAServer) {
  const std::vector<std::string> run = {"run",       "--rate", "10", "--requests", "3",
                                        "--dry-run", "--seed", "5",  "--arrival",  "poisson"};
  const Said said = Load(nullptr, run);
  EXPECT_EQ(said.code, 0) << said.err;
  EXPECT_THAT(said.out, testing::StartsWith("index,at_s,kind,"));
  EXPECT_THAT(said.out, HasSubstr("\n2,"));
  EXPECT_EQ(said.out, Load(nullptr, run).out);
}

TEST(LoadModesTest, WrongArgumentsAndLimitsExitWithTwo) {
  EXPECT_EQ(Load(nullptr, {"fly"}).code, 2);
  EXPECT_EQ(Load(nullptr, {"run"}).code, 2);
  EXPECT_EQ(Load(nullptr, {"--help"}).code, 0);
  EXPECT_EQ(Load(nullptr, {"soak", "--help"}).code, 0);
  const FakeInference server({});
  const Said said = Load(&server, {"run", "--concurrency", "1", "--turns", "400"});
  EXPECT_EQ(said.code, 2);
  EXPECT_THAT(said.err, HasSubstr("4800 tokens; the limit of fake is 4096"));
}

TEST(LoadModesTest, NobodyThereExitsWithOne) {
  const Said said = Load(nullptr, {"run", "--concurrency", "1", "--target", "127.0.0.1:1",
                                   "--ready-timeout", "300ms"});
  EXPECT_EQ(said.code, 1);
  EXPECT_THAT(said.err, HasSubstr("does not serve after --ready-timeout 300ms"));
}

}  // namespace
}  // namespace tandem
