// SPDX-License-Identifier: Apache-2.0
// Quota: at most so many of something at once, open streams say. Thread-safe.
//
// A ticket stands for one of them while it lives; the quota outlives its tickets.
#pragma once

#include <atomic>
#include <memory>

namespace tandem {

class Quota {
 public:
  struct GiveBack {
    void operator()(Quota* quota) const { --quota->taken_; }
  };
  using Ticket = std::unique_ptr<Quota, GiveBack>;

  explicit Quota(int most) : most_(most) {}
  Quota(const Quota&) = delete;
  Quota& operator=(const Quota&) = delete;

  int most() const { return most_; }

  // Null when all are taken.
  Ticket Take() {
    if (++taken_ <= most_) return Ticket(this);
    --taken_;
    return nullptr;
  }

 private:
  const int most_;
  std::atomic<int> taken_ = 0;
};

}  // namespace tandem
