// SPDX-License-Identifier: Apache-2.0
// KvCopier: one thread that copies rows from pool to pool on a queue of its own, beside the
// engine's steps. One a prefill worker, for all its links.
//
// Orders are done one after another, as they came. `done` is called once an order, from the
// thread, when its last byte has arrived or an error says that it never may. Copies that take
// longer than `limit` never end, and nothing but the process's end stops them from writing: so they
// end it, with one line. The destructor ends what was ordered first. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/runtime/base/bounded_queue.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/kv/kv_copies.h"
#include "services/runtime/kv/kv_storage.h"

namespace tandem {

class KvCopier {
 public:
  // Each rank's; they outlive the copier. `limit` is an order's.
  KvCopier(KvStorage::Backends backends, absl::Duration limit);
  ~KvCopier();
  KvCopier(const KvCopier&) = delete;
  KvCopier& operator=(const KvCopier&) = delete;

  struct Order {
    // Pools of as many copies as there are ranks, each rank's in reach of its backend.
    const KvStorage* from = nullptr;
    const KvStorage* to = nullptr;
    std::vector<KvCopy> copies;
    // Set by whoever ordered: what has not begun is not copied any more. Outlives the order.
    const std::atomic<bool>* cancelled = nullptr;
    std::function<void(absl::Status)> done;
  };
  void Copy(Order order) { (void)orders_.PushAlways(std::move(order)); }

 private:
  void Run();
  absl::Status Execute(const Order& order);

  struct Rank {
    kernels::Backend* backend = nullptr;
    kernels::Stream stream;
  };
  // Ends the process if it waits in vain.
  void Await(Rank& rank) const;

  const absl::Duration limit_;
  std::vector<Rank> ranks_;
  // Its producers have one order a chunk of a prompt that was admitted, and a few for the last.
  BoundedQueue<Order> orders_{1};
  std::atomic<bool> stopping_ = false;
  Thread thread_;  // last: it uses all of the above
};

}  // namespace tandem
