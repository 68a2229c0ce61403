// SPDX-License-Identifier: Apache-2.0
// Thread: a named thread that is joined by its destructor, unless it was left to itself. The only
// place that makes threads of ours. LookFor: how one waits awake.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace tandem {

class Thread {
 public:
  // `name` shows in ps and gdb; Linux keeps its first 15 bytes.
  Thread(const std::string& name, std::function<void()> body);
  ~Thread();
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  // Nobody waits for it any more: it may be in a call that never ends. What it uses is its own.
  void Leave() { thread_.detach(); }

 private:
  std::thread thread_;
};

// Whether `came()` was true within `limit`. For what comes soon: to look again is faster than to be
// woken (some 40 µs), and costs a processor for as long, which others who want it get in between.
template <typename Came>
bool LookFor(absl::Duration limit, const Came& came) {
  if (came()) return true;
  const absl::Time begin = absl::Now();
  while (absl::Now() - begin < limit) {
    std::this_thread::yield();
    if (came()) return true;
  }
  return false;
}

// Processors that this process may use, at least 1.
int ProcessorCount();

}  // namespace tandem
