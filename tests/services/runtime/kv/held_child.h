// SPDX-License-Identifier: Apache-2.0
// A child process that holds something until it is killed: what others see of that is tested so.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace tandem {

// Forks a child that keeps what `hold` returns, a StatusOr; returns once it has it.
template <typename Hold>
pid_t ForkHolder(const Hold& hold) {
  int ready[2];
  EXPECT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto held = hold();
    const char verdict = held.ok() ? 'y' : 'n';
    (void)!write(ready[1], &verdict, 1);
    pause();
    _exit(0);
  }
  char verdict = 0;
  EXPECT_EQ(read(ready[0], &verdict, 1), 1);
  EXPECT_EQ(verdict, 'y');
  close(ready[0]);
  close(ready[1]);
  return child;
}

}  // namespace tandem
