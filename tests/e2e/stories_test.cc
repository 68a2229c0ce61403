// SPDX-License-Identifier: Apache-2.0
// Goal: the answers are right, not merely stable: of 1,000 held-out stories more than 97 % are
// solved word for word, greedy, 32 at a time, in chat and in thinking mode. Method:
// tests/golden/stories.jsonl through the three processes.
#include <atomic>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "services/runtime/base/thread.h"
#include "tests/e2e/client.h"
#include "tests/e2e/cluster.h"

namespace tandem {
namespace {

constexpr int kStreams = 32;
constexpr double kShareMin = 0.97;

struct Story {
  std::string question;
  std::string reasoning;
  std::string answer;
};

std::vector<Story> LoadStories() {
  std::ifstream file(TANDEM_SOURCE_DIR "/tests/golden/stories.jsonl");
  std::vector<Story> stories;
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json story = nlohmann::json::parse(line);
    stories.push_back({story.at("question"), story.at("reasoning"), story.at("answer")});
  }
  return stories;
}

bool IsExact(const Story& story, const Choice& choice, bool thinking) {
  if (thinking) return choice.reasoning == story.reasoning && choice.text == story.answer;
  return choice.reasoning.empty() &&
         choice.text == absl::StrCat(story.reasoning, " ", story.answer);
}

class StoriesTest : public ::testing::TestWithParam<bool> {};

TEST_P(StoriesTest, MoreThan97PercentAreSolvedWordForWord) {
  const bool thinking = GetParam();
  const std::vector<Story> stories = LoadStories();
  ASSERT_EQ(stories.size(), 1000U);
  Cluster cluster({});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(60)).ok());
  const auto client = cluster.NewClient();
  std::atomic<size_t> next = 0;
  std::atomic<int> exact = 0;
  std::atomic<int> broken = 0;
  std::atomic<int64_t> tokens = 0;
  const absl::Time start = absl::Now();
  {
    std::vector<std::unique_ptr<Thread>> streams;
    for (int i = 0; i < kStreams; ++i) {
      streams.push_back(std::make_unique<Thread>("stream", [&] {
        for (size_t at = next++; at < stories.size(); at = next++) {
          const Outcome outcome =
              Generate(*client, GreedyChat(stories[at].question, thinking, 200));
          broken += static_cast<int>(!outcome.status.ok() || !outcome.broken_promises.empty());
          if (!outcome.status.ok()) continue;
          tokens += static_cast<int64_t>(outcome.only().tokens.size());
          exact += static_cast<int>(IsExact(stories[at], outcome.only(), thinking));
        }
      }));
    }
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  std::cout << (thinking ? "thinking" : "chat") << ": " << exact << " of " << stories.size()
            << " exact, " << tokens << " tokens in " << seconds << " s, "
            << static_cast<double>(tokens) / seconds << " tokens/s\n";
  EXPECT_EQ(broken, 0);
  EXPECT_GT(exact, kShareMin * static_cast<double>(stories.size()));
  EXPECT_TRUE(cluster.WaitAllFree("decode-0", absl::Seconds(20)).ok());
}

INSTANTIATE_TEST_SUITE_P(Modes, StoriesTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Thinking" : "Chat"; });

}  // namespace
}  // namespace tandem
