// SPDX-License-Identifier: Apache-2.0
// Terminal: a program on a terminal of its own, as a person has it: what is typed is echoed, Ctrl-C
// is a signal, Ctrl-D an end. One owner, one thread; the destructor kills what still runs.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace tandem {

inline constexpr char kCtrlC[] = "\x03";
inline constexpr char kCtrlD[] = "\x04";

class Terminal {
 public:
  // The program by its path, and its arguments.
  explicit Terminal(const std::vector<std::string>& command);
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void Type(const std::string& keys) const;

  // All that was shown since the last call, up to and with the first `text`; without `text`, and
  // with all there is, when it does not come in time.
  std::string ReadUntil(const std::string& text, absl::Duration limit = absl::Seconds(60));

  // How the program ended: its exit code, 128 + the signal, or -1 if it still runs.
  int Wait(absl::Duration limit);

 private:
  int terminal_ = -1;  // our end
  pid_t pid_ = 0;
  std::string shown_;  // not yet returned
};

}  // namespace tandem
