// SPDX-License-Identifier: Apache-2.0
// KvCopier: one thread that copies rows from pool to pool on a queue of its own, beside the
// engine's steps. One a prefill worker, for all its links.
//
// Orders are done one after another, as they came. `done` is called once an order, from the
// thread, when its last byte has arrived or an error says that it never may. The destructor ends
// what was ordered first. Thread-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "kernels/common/backend/backend.h"
#include "services/runtime/base/bounded_queue.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/kv/kv_copies.h"

namespace tandem {

class KvCopier {
 public:
  // The backend outlives the copier.
  explicit KvCopier(kernels::Backend& backend);
  ~KvCopier();
  KvCopier(const KvCopier&) = delete;
  KvCopier& operator=(const KvCopier&) = delete;

  struct Order {
    const std::byte* from = nullptr;  // bases of the pools, both in reach of the backend
    std::byte* to = nullptr;
    std::vector<KvCopy> copies;
    // Set by whoever ordered: what has not begun is not copied any more. Outlives the order.
    const std::atomic<bool>* cancelled = nullptr;
    std::function<void(absl::Status)> done;
  };
  void Copy(Order order) { (void)orders_.PushAlways(std::move(order)); }

 private:
  void Run();
  absl::Status Execute(const Order& order);

  kernels::Backend& backend_;
  kernels::Stream stream_;
  // Its producers have one order a chunk of a prompt that was admitted.
  BoundedQueue<Order> orders_{1};
  std::atomic<bool> stopping_ = false;
  Thread thread_;  // last: it uses all of the above
};

}  // namespace tandem
