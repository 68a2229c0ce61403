// SPDX-License-Identifier: Apache-2.0
#include "tests/services/tools/terminal.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/time/clock.h"
#include "services/runtime/base/check.h"

namespace tandem {

Terminal::Terminal(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_ = forkpty(&terminal_, nullptr, nullptr, nullptr);
  CHECK_GE(pid_, 0);
  if (pid_ > 0) return;
  execv(arguments[0], arguments.data());
  _exit(127);
}

Terminal::~Terminal() {
  if (pid_ != 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(terminal_);
}

void Terminal::Type(const std::string& keys) const {
  CHECK_EQ(write(terminal_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
}

std::string Terminal::ReadUntil(const std::string& text, absl::Duration limit) {
  const absl::Time end = absl::Now() + limit;
  size_t at = shown_.find(text);
  while (at == std::string::npos) {
    pollfd ready = {.fd = terminal_, .events = POLLIN, .revents = 0};
    const int64_t left = absl::ToInt64Milliseconds(end - absl::Now());
    char bytes[4096];
    if (left <= 0 || poll(&ready, 1, static_cast<int>(left)) <= 0) break;
    const ssize_t count = read(terminal_, bytes, sizeof(bytes));
    if (count <= 0) break;  // the program has ended
    shown_.append(bytes, static_cast<size_t>(count));
    at = shown_.find(text);
  }
  const size_t size = at == std::string::npos ? shown_.size() : at + text.size();
  std::string out = shown_.substr(0, size);
  shown_.erase(0, size);
  return out;
}

int Terminal::Wait(absl::Duration limit) {
  const absl::Time end = absl::Now() + limit;
  int status = 0;
  while (waitpid(pid_, &status, WNOHANG) == 0) {
    if (absl::Now() > end) return -1;
    absl::SleepFor(absl::Milliseconds(5));
  }
  pid_ = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace tandem
