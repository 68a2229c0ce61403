// SPDX-License-Identifier: Apache-2.0
#include "services/router/request_table.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"
#include "services/runtime/rpc/status.h"

namespace tandem {

absl::Status RequestTable::Add(const RequestName& name, RequestHooks hooks) {
  absl::MutexLock lock(&mutex_);
  if (draining_) return Draining({.message = "this router is going down; another may answer"});
  if (running_.contains(name)) return DuplicateRequest(name.id);
  if (running_.size() >= requests_max_) {
    return QueueFull({.message = absl::StrCat(requests_max_,
                                              " requests are running, the limit (requests_max)")});
  }
  running_.emplace(name, std::move(hooks));
  return absl::OkStatus();
}

void RequestTable::Remove(const RequestName& name) {
  absl::MutexLock lock(&mutex_);
  CHECK_EQ(running_.erase(name), 1U);
}

bool RequestTable::Cancel(const RequestName& name) {
  std::function<void()> cancel;
  {
    absl::MutexLock lock(&mutex_);
    const auto it = running_.find(name);
    if (it == running_.end()) return false;
    it->second.pin();
    cancel = it->second.cancel;
  }
  cancel();
  return true;
}

bool RequestTable::Drain(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
  return mutex_.AwaitWithTimeout(absl::Condition(this, &RequestTable::Empty), timeout);
}

size_t RequestTable::size() const {
  absl::MutexLock lock(&mutex_);
  return running_.size();
}

}  // namespace tandem
