// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/base/thread.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

namespace tandem {

Thread::Thread(const std::string& name, std::function<void()> body)
    : thread_([name = name.substr(0, 15), body = std::move(body)] {
        pthread_setname_np(pthread_self(), name.c_str());
        body();
      }) {}

Thread::~Thread() {
  if (thread_.joinable()) thread_.join();
}

int ProcessorCount() {
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace tandem
