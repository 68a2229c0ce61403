// SPDX-License-Identifier: Apache-2.0
// NcclParts: orders that wait for the decode worker's word, in the order in which it was asked.
// Thread-safe.
#pragma once

#include <deque>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "services/runtime/kv/lease_table.h"
#include "services/runtime/transfer/nccl/nccl_end.h"

namespace tandem {

class NcclParts {
 public:
  void Ask(const LeaseKey& key, NcclEnd::Order order) ABSL_LOCKS_EXCLUDED(mutex_);
  // The answer to the oldest question: its order goes to `end`, or is done. False: it is no answer
  // to that.
  [[nodiscard]] bool Answer(const LeaseKey& key, bool accepted, NcclEnd& end)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // A lease's orders are done now. If they are accepted after all, what goes over means nothing.
  void GiveUp(const LeaseKey& key) ABSL_LOCKS_EXCLUDED(mutex_);
  // All orders are done, and what is asked from now on at once.
  void End() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Asked {
    LeaseKey key;
    NcclEnd::Order order;
  };
  absl::Mutex mutex_;
  std::deque<Asked> asked_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace tandem
