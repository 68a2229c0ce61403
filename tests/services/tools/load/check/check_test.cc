// SPDX-License-Identifier: Apache-2.0
// Goal: answers are judged by goldens and by the simulated engine's rule, and a process is at rest
// only when its own metrics say so. Method: right and wrong answers token by token; bad files; a
// registry of metrics behind a real socket.
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/metrics/registry.h"
#include "services/runtime/metrics/series.h"
#include "services/tools/load/check/answer_check.h"
#include "services/tools/load/check/golden.h"
#include "services/tools/load/check/idle.h"

namespace tandem {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Ids = std::vector<uint32_t>;

TEST(AnswerCheckTest, SimulatedAnswerRepeatsThePromptWithoutSilentTokens) {
  AnswerCheck check = AnswerCheck::Simulated({0, 7, 8, 1, 9}, Ids{0, 1});
  EXPECT_EQ(check.Take(Ids{7, 8}), "");
  EXPECT_EQ(check.Take(Ids{9, 7, 8, 9, 7}), "");
  EXPECT_EQ(check.Take(Ids{9}), "answer");
  EXPECT_EQ(check.Take(Ids{1234}), "");  // told once
  EXPECT_EQ(AnswerCheck::Simulated({7, 8}, {}).Take(Ids{7, 10}), "leak");
}

TEST(AnswerCheckTest, GoldenIsComparedUpToAnUndecidedPlace) {
  const Golden golden = {.answer = {{.id = 4}, {.id = 5, .undecided = true}, {.id = 6}}};
  EXPECT_EQ(AnswerCheck::Known(golden).Take(Ids{4, 5, 6}), "");
  EXPECT_EQ(AnswerCheck::Known(golden).Take(Ids{4, 9, 9}), "");
  EXPECT_EQ(AnswerCheck::Known(golden).Take(Ids{4, 5, 9}), "golden");
  EXPECT_EQ(AnswerCheck::Known(golden).Take(Ids{9}), "golden");
}

TEST(GoldenTest, TheTreesOwnFileIsRead) {
  const auto goldens = ReadGoldens(TANDEM_SOURCE_DIR "/tests/golden/model/golden_tiny.json");
  ASSERT_TRUE(goldens.ok()) << goldens.status();
  EXPECT_GT(goldens->size(), 3U);
  for (const Golden& golden : *goldens) {
    EXPECT_FALSE(golden.prompt.empty()) << golden.name;
    EXPECT_FALSE(golden.answer.empty()) << golden.name;
  }
}

TEST(GoldenTest, LeadsDecide) {
  const auto goldens = ParseGoldens("f", R"({"cases": {
      "a": {"prompt": [1], "decode": [{"token": 3, "top": [[3, -0.1], [4, -0.14]]},
                                      {"token": 4, "top": [[4, -0.1], [3, -0.16]]}]},
      "b": {"prompt": [1, 2], "tokens": [5, 6]}}})");
  ASSERT_TRUE(goldens.ok()) << goldens.status();
  ASSERT_EQ(goldens->size(), 2U);
  EXPECT_TRUE((*goldens)[0].answer[0].undecided);
  EXPECT_FALSE((*goldens)[0].answer[1].undecided);
  EXPECT_EQ((*goldens)[1].answer[1].id, 6U);
}

TEST(GoldenTest, WrongFileIsNamedWithItsField) {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"{", "no JSON object with cases"},
      {R"({"cases": {}})", "no JSON object with cases"},
      {R"({"cases": {"a": 1}})", "case a: no JSON object"},
      {R"({"cases": {"a": {"prompt": []}}})", "prompt is no list"},
      {R"({"cases": {"a": {"prompt": [-1]}}})", "prompt is no list"},
      {R"({"cases": {"a": {"prompt": [1]}}})", "neither tokens nor decode"},
      {R"({"cases": {"a": {"prompt": [1], "decode": [{}]}}})", "decode[].token"},
      {R"({"cases": {"a": {"prompt": [1], "decode": [{"token": 1, "top": [[1]]}]}}})",
       "decode[].top"}};
  for (const auto& [text, message] : wrong) {
    const auto goldens = ParseGoldens("file.json", text);
    ASSERT_FALSE(goldens.ok()) << text;
    EXPECT_THAT(std::string(goldens.status().message()), HasSubstr("file.json")) << text;
    EXPECT_THAT(std::string(goldens.status().message()), HasSubstr(message)) << text;
  }
  EXPECT_FALSE(ReadGoldens("/no/such").ok());
}

TEST(ScrapeTest, UrlsAreHostAndPortWithOrWithoutPath) {
  const auto plain = ParseMetricsUrl("localhost:9090");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->host + plain->port + plain->path, "localhost9090/metrics");
  const auto whole = ParseMetricsUrl("http://[::1]:80/a/b");
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(whole->host, "::1");
  EXPECT_EQ(whole->path, "/a/b");
  for (const char* text : {"", "host", "host:", ":80", "host:0", "host:65536", "https://host:1"}) {
    EXPECT_FALSE(ParseMetricsUrl(text).ok()) << text;
  }
}

TEST(ScrapeTest, SamplesKeepNamesLabelsAndValues) {
  const auto samples =
      ParseSamples("# HELP a b\na 1\nb{x=\"1\",y=\"p q\\\"}\"} 2.5e1 123\nbroken\nc{} nan\n");
  ASSERT_EQ(samples.size(), 3U);
  EXPECT_EQ(samples[0].name, "a");
  EXPECT_EQ(samples[1].name, "b");
  EXPECT_EQ(samples[1].value, 25);
  EXPECT_EQ(samples[1].labels.at("y"), "p q\\\"}");
}

TEST(IdleTest, BusySeriesAreNamedWithTheirLabels) {
  EXPECT_THAT(BusySeries(ParseSamples("tandem_kv_blocks{state=\"free\"} 96\n"
                                      "tandem_kv_blocks{state=\"active\"} 2\n"
                                      "tandem_kv_leases{state=\"granted\",role=\"decode\"} 1\n"
                                      "tandem_queue_depth{queue=\"running\"} 0\n"
                                      "tandem_step_seconds_count 7\n")),
              ElementsAre("tandem_kv_blocks{state=\"active\"} is 2",
                          "tandem_kv_leases{state=\"granted\"} is 1"));
  EXPECT_THAT(BusySeries(ParseSamples("tandem_queue_depth 0\n")), IsEmpty());
  EXPECT_THAT(BusySeries(ParseSamples("up 1\n")), ElementsAre(HasSubstr("no tandem_ series")));
}

TEST(IdleTest, WaitsUntilAProcessIsAtRest) {
  auto registry = MetricsRegistry::Create(
      {.role = ProcessRole::kDecode, .model_name = "m", .listen = "127.0.0.1:0", .version = "1"});
  ASSERT_TRUE(registry.ok()) << registry.status();
  auto& depth = (*registry)->Gauges(series::kQueueDepth).Add({{"queue", "running"}});
  depth.Set(1);
  const MetricsUrl url = {
      .host = "127.0.0.1", .port = std::to_string((*registry)->port()), .path = "/metrics"};
  EXPECT_THAT(CheckIdle({url}, absl::ZeroDuration()),
              ElementsAre(HasSubstr("tandem_queue_depth{queue=\"running\"} is 1")));
  int scrapes = 0;
  (*registry)->OnScrape(&scrapes, [&depth, &scrapes] {
    if (++scrapes == 3) depth.Set(0);
  });
  EXPECT_THAT(CheckIdle({url}, absl::Seconds(30)), IsEmpty());
  (*registry)->RemoveOnScrape(&scrapes);
  const MetricsUrl missing = {.host = "127.0.0.1", .port = url.port, .path = "/other"};
  EXPECT_THAT(CheckIdle({missing}, absl::ZeroDuration()), ElementsAre(HasSubstr("404")));
}

}  // namespace
}  // namespace tandem
