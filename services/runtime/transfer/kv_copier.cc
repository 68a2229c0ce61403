// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/kv_copier.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace tandem {

KvCopier::KvCopier(kernels::Backend& backend)
    : backend_(backend), stream_(backend.MakeStream()), thread_("kv-copier", [this] { Run(); }) {}

KvCopier::~KvCopier() {
  stopping_ = true;
  orders_.Close();
}

void KvCopier::Run() {
  while (true) {
    // Read before the queue: what was ordered before the end is found there.
    const bool stopping = stopping_;
    const std::vector<Order> orders = orders_.PopAll(absl::InfiniteDuration());
    for (const Order& order : orders) order.done(Execute(order));
    if (stopping && orders.empty()) return;
  }
}

absl::Status KvCopier::Execute(const Order& order) {
  if (*order.cancelled) return absl::CancelledError("the hand-off was given up");
  for (const KvCopy& copy : order.copies) {
    backend_.Copy({.to = order.to + copy.to,
                   .from = order.from + copy.from,
                   .bytes = static_cast<int64_t>(copy.bytes)},
                  stream_);
  }
  if (backend_.Synchronize(stream_)) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("copy to the decode worker: ", stream_.error()));
}

}  // namespace tandem
