// SPDX-License-Identifier: Apache-2.0
// Goal: decode steps and short chunks are replayed, and only where they would queue the same
// operations on the same addresses, which larger steps do not move; one that cannot be recorded
// runs plainly, on all ranks, and is tried twice; Collect comes back only behind `done`; a step
// that does not end ends the process. Method: tiny-v4 on the host as on a device that counts
// recordings and replays, can refuse the former, and can tell late that a step is over; against an
// engine that records nothing.
#include <atomic>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "services/runtime/engine/model_engine.h"
#include "tests/services/runtime/engine/replaying_device.h"
#include "tests/services/runtime/engine/sequences.h"
#include "tests/services/runtime/engine/two_ranks.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {
namespace {

TEST(ReplayTest, AnotherPoolAtTheSameAddressIsAnotherStep) {
  ReplayingDevice device;
  const auto engine = MakeEngine(device);
  Pool memory(engine->config(), {.pages = 8, .slots = 8}, device);
  const auto write = [&](KvLayout::Size size) {
    const KvLayout layout = *KvLayout::Create(engine->config(), size);
    Sequences(*engine, {.base = memory.base(), .layout = &layout}, 2).Write(2);
    return std::pair(device.records, device.replays);
  };
  // The first step runs plainly, the second is recorded.
  EXPECT_EQ(write({.pages = 4, .slots = 4}), std::pair(1, 1));
  EXPECT_EQ(write({.pages = 5, .slots = 4}), std::pair(2, 2));
  EXPECT_EQ(write({.pages = 4, .slots = 5}), std::pair(3, 3));
  EXPECT_EQ(write({.pages = 4, .slots = 4}), std::pair(3, 5));
}

// Chunks of a prompt of 100 tokens, alone in their steps; the last one draws.
TEST(ReplayTest, ShortChunksOfAPromptAreReplayed) {
  ReplayingDevice device;
  const auto engine = MakeEngine(device);
  const auto plain = MakeEngine(kernels::HostBackend());
  Pool pool(engine->config(), {.pages = 2, .slots = 2}, device);
  Pool other(engine->config(), {.pages = 1, .slots = 1});
  std::vector<int32_t> prompt(100);
  std::iota(prompt.begin(), prompt.end(), 5);
  const Sampler sampler({.temperature = 0, .logprobs = 2}, {});
  const std::vector<int32_t> pages = {0}, others = {1}, next = {7};
  const auto read = [&](Engine& by, const KvView& kv, size_t size) {
    TokenChoice drawn;
    for (size_t at = 0; at < prompt.size(); at += size) {
      EngineChunk chunk = {.tokens = absl::MakeConstSpan(prompt).subspan(at, size),
                           .start = static_cast<int64_t>(at),
                           .pages = pages};
      if (at + size >= prompt.size()) chunk.sampler = &sampler;
      drawn = by.Step({chunk}, kv)[0].choice;
    }
    return drawn;
  };
  const auto check = [&](size_t size, int records, int replays) {
    const TokenChoice ours = read(*engine, pool.view(), size);
    const TokenChoice theirs = read(*plain, other.view(), size);
    EXPECT_EQ(ours.id, theirs.id);
    EXPECT_EQ(ours.logprob, theirs.logprob);
    EXPECT_EQ(std::pair(device.records, device.replays), std::pair(records, replays)) << size;
  };
  // 25, no window rows before them; 25 twice, the second time recorded; 25 that draws.
  check(25, 1, 1);
  check(25, 3, 5);
  check(25, 3, 9);
  // 64 tokens are recorded; the 36 that draw behind them as well.
  check(64, 3, 9);
  check(64, 5, 11);
  // What is longer is not.
  check(100, 5, 11);
  check(100, 5, 11);
  // Nor what has neighbours, or targets.
  for (int i = 0; i < 2; ++i) {
    const std::vector<EngineChunk> two = {{.tokens = next, .pages = pages},
                                          {.tokens = prompt, .slot = 1, .pages = others}};
    engine->Step(two, pool.view());
    engine->Step({{.tokens = next, .pages = pages, .targets = next}}, pool.view());
  }
  EXPECT_EQ(std::pair(device.records, device.replays), std::pair(5, 11));
}

TEST(ReplayTest, AStepThatCannotBeRecordedRunsPlainly) {
  ReplayingDevice device;
  const auto engine = MakeEngine(device);
  Pool pool(engine->config(), {.pages = 4, .slots = 4}, device);
  Sequences one(*engine, pool.view(), 1);
  one.Write(3);
  EXPECT_EQ(device.held, 1);
  device.refused = 100;
  Sequences two(*engine, pool.view(), 2);
  two.Write(2);
  // Whatever else was recorded has gone: memory may be what was lacking.
  EXPECT_EQ(device.held, 0);
  two.Write(6);
  EXPECT_EQ(device.records, 1 + 2);
  EXPECT_EQ(engine->launches(), 0);
  EXPECT_EQ(two.answers(), PlainAnswers(2, 8));
  // What had been recorded is again.
  device.refused = 0;
  Sequences again(*engine, pool.view(), 1);
  again.Write(4);
  EXPECT_EQ(device.held, 2);  // and the prompt, which has come twice
  EXPECT_EQ(again.answers(), PlainAnswers(1, 4));
}

TEST(ReplayTest, AStepIsRecordedAtTheSecondAttempt) {
  ReplayingDevice device;
  const auto engine = MakeEngine(device);
  Pool pool(engine->config(), {.pages = 4, .slots = 4}, device);
  device.refused = 1;
  Sequences sequences(*engine, pool.view(), 1);
  sequences.Write(6);
  EXPECT_EQ(device.records, 2);
  EXPECT_EQ(device.replays, 4);
  EXPECT_EQ(sequences.answers(), PlainAnswers(1, 6));
}

TEST(ReplayTest, RanksReplayTogetherOrNotAtAll) {
  TwoRanks<ReplayingDevice> two;
  std::vector<ReplayingDevice>& devices = two.devices;
  const auto counts = [&devices](int r) {
    return std::pair(devices[r].records, devices[r].replays);
  };
  devices[1].refused = 1;
  Sequences sequences(two.engine, two.pool->view(), 1);
  sequences.Write(2);
  // The other rank's recording went as well.
  EXPECT_EQ(counts(0), std::pair(1, 0));
  EXPECT_EQ(counts(1), std::pair(1, 0));
  EXPECT_EQ(devices[0].held, 0);
  sequences.Write(3);
  EXPECT_EQ(counts(0), std::pair(2, 3));
  EXPECT_EQ(counts(1), std::pair(2, 3));
  EXPECT_EQ(sequences.answers(), PlainAnswers(1, 5));
}

TEST(ReplayTest, CollectComesBackBehindDone) {
  ReplayingDevice device;
  device.late = true;
  const auto engine = MakeEngine(device);
  Pool pool(engine->config(), {.pages = 1, .slots = 1}, device);
  const std::vector<int32_t> pages = {0};
  for (int step = 0; step < 3; ++step) {
    std::atomic<bool> told = false;
    const EngineChunk chunk = {.tokens = Prompt(), .pages = pages};
    engine->Launch({&chunk, 1}, pool.view(), {.done = [&told] { told = true; }});
    EXPECT_EQ(engine->Collect().size(), 1U);
    EXPECT_TRUE(told);
  }
}

// Of what a step wants, a request that wants more must not move what recordings know the place of.
TEST(ReplayTest, RecordingsOutliveLargerBatchesAndPenalties) {
  ReplayingDevice device;
  const auto engine = MakeEngine(device);
  Pool pool(engine->config(), {.pages = 20, .slots = 20}, device);
  Sequences(*engine, pool.view(), 1).Write(2);
  EXPECT_EQ(device.records, 1);
  Sequences(*engine, pool.view(), 20).Write(2);
  EXPECT_EQ(device.records, 2);
  std::vector<int32_t> story(1900);
  std::iota(story.begin(), story.end(), 0);
  const Sampler wordy({.temperature = 0, .repetition_penalty = 1.1F, .logprobs = 20}, story);
  const std::vector<int32_t> pages = {0};
  for (int i = 0; i < 2; ++i) {
    engine->Step({{.tokens = Prompt(), .pages = pages, .sampler = &wordy}}, pool.view());
  }
  Sequences again(*engine, pool.view(), 1);
  again.Write(2);
  EXPECT_EQ(device.records, 3);  // the prompt, which has come twice
  EXPECT_EQ(again.answers(), PlainAnswers(1, 2));
}

TEST(ReplayTest, TheStepThatWasLongestNotAskedForIsForgotten) {
  ReplayingDevice device;
  kernels::Stream stream = device.MakeStream();
  StepRecorder recorder(device, stream);
  // Twice: has it been recorded now?
  const auto ask = [&](int step) {
    const int before = device.records;
    for (int i = 0; i < 2; ++i) recorder.Find({.inputs_moves = step}, [] {});
    return device.records > before;
  };
  for (int step = 0; step < 512; ++step) EXPECT_TRUE(ask(step));
  EXPECT_FALSE(ask(0));
  EXPECT_TRUE(ask(512));  // for 1
  EXPECT_EQ(device.held, 512);
  EXPECT_FALSE(ask(0));
  EXPECT_FALSE(ask(2));
  EXPECT_TRUE(ask(1));
}

TEST(StepWatchDeathTest, AStepThatNeverEndsEndsTheProcess) {
  EXPECT_DEATH(
      {
        ReplayingDevice device;
        device.standing = true;
        const auto engine = MakeEngine(device, absl::Milliseconds(100));
        Pool pool(engine->config(), {.pages = 1, .slots = 1}, device);
        const std::vector<int32_t> pages = {0};
        engine->Step({{.tokens = Prompt(), .pages = pages}}, pool.view());
      },
      "fake: a step has not ended within 100ms");
}

}  // namespace
}  // namespace tandem
