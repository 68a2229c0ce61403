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

constexpr int64_t kContext = 512;

class WarmUpTest : public ::testing::Test {
 protected:
  ReplayingDevice device_;
  const std::unique_ptr<ModelEngine> engine_ = MakeEngine(device_);
  Pool pool_{engine_->config(), {.pages = 5, .slots = 5}, device_};
};

TEST_F(WarmUpTest, DecodeStepsAreReplayedFromTheFirstOn) {
  WarmUpDecode(*engine_, pool_.view(), {.batch_max = 5, .context_tokens_max = kContext});
  // Batches of 1, 2 and 4, at one page and at two.
  EXPECT_EQ(device_.records, 6);
  for (const int count : {1, 2, 4}) {
    device_.records = device_.replays = 0;
    Sequences sequences(*engine_, pool_.view(), count);
    sequences.Write(5);
    EXPECT_EQ(device_.records, 0) << count;
    EXPECT_EQ(device_.replays, 5) << count;
    EXPECT_EQ(sequences.answers(), PlainAnswers(count, 5));
  }
}

TEST_F(WarmUpTest, ALongPromptIsAFewSteps) {
  WarmUpPrefill(*engine_, pool_.view(), {.chunk_tokens = 64, .context_tokens_max = kContext});
  EXPECT_EQ(device_.told, 4);
  Sequences sequences(*engine_, pool_.view(), 2);
  sequences.Write(5);
  EXPECT_EQ(sequences.answers(), PlainAnswers(2, 5));
}

TEST_F(WarmUpTest, AHostHasNothingToWarm) {
  device_.host = true;
  WarmUpDecode(*engine_, pool_.view(), {.batch_max = 5, .context_tokens_max = kContext});
  WarmUpPrefill(*engine_, pool_.view(), {.chunk_tokens = 64, .context_tokens_max = kContext});
  EXPECT_EQ(device_.told, 0);
}

}  // namespace
}  // namespace tandem
