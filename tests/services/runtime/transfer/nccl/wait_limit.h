// SPDX-License-Identifier: Apache-2.0
// WaitLimit: ends this program, saying what it waited for, if that has not come by the time that it
// goes out of scope and far too long has passed. One at a time. What hangs in a GPU's driver or in
// a destructor can be ended no other way.
#pragma once

#include <unistd.h>

#include <csignal>
#include <cstring>

namespace tandem {

class WaitLimit {
 public:
  static constexpr unsigned kSeconds = 30;  // more than twice what the program's parts allow

  // `what` lives for ever.
  explicit WaitLimit(const char* what) {
    awaited_ = what;
    std::signal(SIGALRM, [](int) {
      Say("FAILED: no end within 30 s of the wait for ");
      Say(awaited_);
      Say("\n");
      _exit(1);
    });
    alarm(kSeconds);
  }
  ~WaitLimit() { alarm(0); }
  WaitLimit(const WaitLimit&) = delete;
  WaitLimit& operator=(const WaitLimit&) = delete;

 private:
  static void Say(const char* text) { (void)!write(STDERR_FILENO, text, std::strlen(text)); }

  static inline const char* volatile awaited_ = "";
};

}  // namespace tandem
