// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/rpc/strand.h"

#include <utility>

namespace tandem {

void Strand::Post(std::function<void()> body) {
  Push({.body = std::move(body)});
}

void Strand::PostLast(std::function<void()> body) {
  Push({.body = std::move(body), .last = true});
}

void Strand::Push(Item item) {
  {
    absl::MutexLock lock(&mutex_);
    items_.push_back(std::move(item));
    if (running_) return;
    running_ = true;
  }
  while (true) {
    Item next;
    {
      absl::MutexLock lock(&mutex_);
      if (items_.empty()) {
        running_ = false;
        return;
      }
      next = std::move(items_.front());
      items_.pop_front();
    }
    next.body();
    // `this` may be gone.
    if (next.last) return;
  }
}

}  // namespace tandem
