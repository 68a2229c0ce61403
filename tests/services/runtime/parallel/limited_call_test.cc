// SPDX-License-Identifier: Apache-2.0
// Goal: a call that hangs costs its limit and no more, is named, and what it makes too late is
// given back. Method: calls that wait for the test.
#include "services/runtime/parallel/limited_call.h"

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(LimitedCallTest, WhatComesBackInTimeHasRun) {
  bool ran = false, late = false;
  EXPECT_TRUE(RunWithin({.what = "nccl: communicators",
                         .limit = absl::InfiniteDuration(),
                         .run = [&ran] { ran = true; },
                         .came_late = [&late] { late = true; }})
                  .ok());
  EXPECT_TRUE(ran);
  EXPECT_FALSE(late);
}

TEST(LimitedCallTest, WhatHangsIsLeftAndGivesBackWhatItMakesTooLate) {
  absl::Notification go_on, given_back;
  const absl::Status status = RunWithin({.what = "nccl: communicators",
                                         .limit = absl::Milliseconds(50),
                                         .run = [&go_on] { go_on.WaitForNotification(); },
                                         .came_late = [&given_back] { given_back.Notify(); }});
  EXPECT_EQ(status, absl::DeadlineExceededError("nccl: communicators: no end within 50ms"));
  EXPECT_FALSE(given_back.HasBeenNotified());
  go_on.Notify();
  given_back.WaitForNotification();
}

}  // namespace
}  // namespace tandem
