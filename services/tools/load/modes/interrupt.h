// SPDX-License-Identifier: Apache-2.0
// Interrupt: while it lives, the first Ctrl-C (or SIGTERM) sets a flag in place of ending the
// process; the second one ends it. One at a time.
#pragma once

#include <signal.h>

#include <atomic>

namespace tandem {

class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  const std::atomic<bool>& flag() const;

 private:
  struct sigaction old_interrupt_ = {};
  struct sigaction old_terminate_ = {};
};

}  // namespace tandem
