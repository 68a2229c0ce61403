// SPDX-License-Identifier: Apache-2.0
// Goal: n steps back to back last n durations, whatever the caller loses in between; a step after
// idleness lasts its own. Method: a clock that the test moves, no waiting.
#include "services/runtime/engine/sim/step_pacer.h"

#include <vector>

#include "gtest/gtest.h"

namespace tandem {
namespace {

constexpr absl::Duration kStep = absl::Milliseconds(20);
const int32_t kToken = 5;

EngineChunk OneToken(int slot, int64_t start) {
  return {.tokens = {&kToken, 1}, .start = start, .slot = slot, .pages = {}};
}

TEST(StepPacerTest, LateWakingAndHostWorkDoNotAddUp) {
  StepPacer pacer;
  const absl::Time begin = absl::UnixEpoch();
  absl::Time now = begin;
  for (int i = 0; i < 100; ++i) {
    const std::vector<EngineChunk> chunks = {OneToken(3, 40 + i), OneToken(i % 3, 7)};
    const absl::Time end = pacer.End(chunks, now, kStep);
    EXPECT_EQ(end, begin + (i + 1) * kStep);
    now = end + absl::Milliseconds(i % 2 == 0 ? 3 : 1);
  }
}

TEST(StepPacerTest, AStepWithoutASequenceOfTheLastOneBeginsWhenItIsCalled) {
  StepPacer pacer;
  absl::Time now = absl::UnixEpoch();
  now = pacer.End({OneToken(0, 9)}, now, kStep) + absl::Milliseconds(1);
  EXPECT_EQ(pacer.End({OneToken(1, 10)}, now, kStep), now + kStep) << "another slot";
  now += kStep;
  EXPECT_EQ(pacer.End({OneToken(1, 12)}, now, kStep), now + kStep) << "not the next token";
  now += kStep + absl::Seconds(1);
  EXPECT_EQ(pacer.End({OneToken(1, 0)}, now, kStep), now + kStep) << "a new prompt";
}

TEST(StepPacerTest, WhatALateCallerLostIsNotCaughtUp) {
  StepPacer pacer;
  absl::Time now = absl::UnixEpoch();
  now = pacer.End({OneToken(0, 1)}, now, kStep) + absl::Milliseconds(70);
  EXPECT_EQ(pacer.End({OneToken(0, 2)}, now, kStep), now) << "late: no wait";
  EXPECT_EQ(pacer.End({OneToken(0, 3)}, now, kStep), now + kStep);
}

}  // namespace
}  // namespace tandem
