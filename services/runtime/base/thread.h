// SPDX-License-Identifier: Apache-2.0
// Thread: a named thread that is joined by its destructor. The only place that makes threads of
// ours.
#pragma once

#include <functional>
#include <string>
#include <thread>

namespace tandem {

class Thread {
 public:
  // `name` shows in ps and gdb; Linux keeps its first 15 bytes.
  Thread(const std::string& name, std::function<void()> body);
  ~Thread();
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

 private:
  std::thread thread_;
};

// Processors that this process may use, at least 1.
int ProcessorCount();

}  // namespace tandem
