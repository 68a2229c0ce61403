// SPDX-License-Identifier: Apache-2.0
// HolderWatch: tells a worker that follows others' weights when their holder is gone.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/loader/loaded_model.h"

namespace tandem {

class HolderWatch {
 public:
  // Borrows the parts. Looks five times a second, if there is something to look for; `gone` is
  // called once, from a thread of its own.
  HolderWatch(const std::vector<std::unique_ptr<LoadedModel>>& parts, std::function<void()> gone);
  ~HolderWatch();
  HolderWatch(const HolderWatch&) = delete;
  HolderWatch& operator=(const HolderWatch&) = delete;

  // UNAVAILABLE once it is gone. Any thread.
  absl::Status status() const;

 private:
  absl::Notification stop_, gone_;
  std::unique_ptr<Thread> thread_;  // null: all weights are the worker's own
};

}  // namespace tandem
