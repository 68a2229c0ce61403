// SPDX-License-Identifier: Apache-2.0
// Goal: after the warm-up steps are replayed from the first on, whatever they want of their tokens,
// and a sequence is written as if there had been none; on the host it runs nothing. Method: tiny-v4
// on a device that counts recordings.
#include "services/runtime/engine/warm_up.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/services/runtime/engine/replaying_device.h"
#include "tests/services/runtime/engine/sequences.h"

namespace tandem {
namespace {

constexpr KvLayout::Size kSize = {.pages = 5, .slots = 5};
constexpr int64_t kContext = 512;

TEST(WarmUpTest, DecodeStepsAreReplayedFromTheFirstOn) {
  ReplayingDevice device;
  const auto engine = MakeEngine(device);
  Pool pool(engine->config(), kSize, device);
  WarmUpDecode(*engine, pool.view(), {.batch_max = 5, .context_tokens_max = kContext});
  // Batches of 1, 2 and 4, at one page and at two.
  EXPECT_EQ(device.records, 6);
  for (const int count : {1, 2, 4}) {
    device.records = device.replays = 0;
    Sequences sequences(*engine, pool.view(), count);
    sequences.Write(5);
    EXPECT_EQ(device.records, 0) << count;
    EXPECT_EQ(device.replays, 5) << count;
    EXPECT_EQ(sequences.answers(), PlainAnswers(count, 5));
  }
}

TEST(WarmUpTest, ALongPromptIsAFewSteps) {
  ReplayingDevice device;
  const auto engine = MakeEngine(device);
  Pool pool(engine->config(), kSize, device);
  WarmUpPrefill(*engine, pool.view(), {.chunk_tokens = 64, .context_tokens_max = kContext});
  EXPECT_EQ(device.told, 4);
  Sequences sequences(*engine, pool.view(), 2);
  sequences.Write(5);
  EXPECT_EQ(sequences.answers(), PlainAnswers(2, 5));
}

TEST(WarmUpTest, AHostHasNothingToWarm) {
  ReplayingDevice device;
  device.host = true;
  const auto engine = MakeEngine(device);
  Pool pool(engine->config(), kSize, device);
  WarmUpDecode(*engine, pool.view(), {.batch_max = 5, .context_tokens_max = kContext});
  WarmUpPrefill(*engine, pool.view(), {.chunk_tokens = 64, .context_tokens_max = kContext});
  EXPECT_EQ(device.told, 0);
}

}  // namespace
}  // namespace tandem
