// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/ipc_channel.h"

#include <atomic>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/transfer/shared_channel.h"

namespace tandem {

// One prompt's orders. The destructor gives up what has not begun and waits for the rest: then
// nobody reads the staging memory or writes the lease's.
class IpcChannel::Transfer {
 public:
  Transfer(Allocation memory, const Grant& lease) : memory_(std::move(memory)), lease_(lease) {}
  ~Transfer() {
    cancelled_ = true;
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &Transfer::Idle));
  }

  Allocation TakeMemory() { return std::move(memory_); }
  const Allocation& memory() const { return memory_; }
  const Grant& lease() const { return lease_; }

  void Begin(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    ++orders_;
    bytes_ += bytes;
  }
  void End(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    mutex_.Lock();
    if (status_.ok()) status_ = status;
    if (orders_ == 1 && done_) {
      const auto done = std::exchange(done_, nullptr);
      const absl::Status result = status_;
      // Called while the count still says that something runs: whoever waits for its end waits for
      // this as well.
      mutex_.Unlock();
      done(result);
      mutex_.Lock();
    }
    --orders_;
    mutex_.Unlock();
  }
  void WhenIdle(std::function<void(absl::Status)> done) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::Status result;
    {
      absl::MutexLock lock(&mutex_);
      if (!Idle()) {
        done_ = std::move(done);
        return;
      }
      result = status_;
    }
    done(std::move(result));
  }

  uint64_t bytes() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return bytes_;
  }
  const std::atomic<bool>* cancelled() const { return &cancelled_; }
  // Pages that were ordered.
  int pages_sent = 0;

 private:
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return orders_ == 0; }

  Allocation memory_;
  const Grant lease_;
  std::atomic<bool> cancelled_ = false;
  mutable absl::Mutex mutex_;
  int orders_ ABSL_GUARDED_BY(mutex_) = 0;  // not done yet
  uint64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::function<void(absl::Status)> done_ ABSL_GUARDED_BY(mutex_);
};

IpcChannel::IpcChannel(StagingPool& staging, KvCopier& copier, std::unique_ptr<KvStorage> mapped)
    : staging_(staging), copier_(copier), mapped_(std::move(mapped)) {}

IpcChannel::~IpcChannel() {
  while (!transfers_.empty()) Close({.lease_id = transfers_.begin()->first});
}

absl::StatusOr<KvPlace> IpcChannel::Open(const Grant& lease, int tokens) {
  RETURN_IF_ERROR(CheckGrant(mapped_->layout(), lease, tokens));
  ASSIGN_OR_RETURN(Allocation memory, staging_.pages.Allocate(KvLayout::PagesFor(tokens)));
  KvPlace place{.pool = staging_.id,
                .view = staging_.storage->view(),
                .slot = memory.slot,
                .pages = memory.pages};
  transfers_.emplace(lease.key.lease_id, std::make_unique<Transfer>(std::move(memory), lease));
  return place;
}

void IpcChannel::Advance(const LeaseKey& key, int tokens) {
  Transfer& transfer = *transfers_.at(key.lease_id);
  const int full = tokens / kPageTokens;
  if (full <= transfer.pages_sent) return;
  Send(transfer,
       {.tokens = int64_t{full} * kPageTokens, .first_page = transfer.pages_sent, .states = false});
  transfer.pages_sent = full;
}

uint64_t IpcChannel::Write(const LeaseKey& key, int tokens) {
  Transfer& transfer = *transfers_.at(key.lease_id);
  Send(transfer, {.tokens = tokens, .first_page = transfer.pages_sent});
  return transfer.bytes();
}

void IpcChannel::Send(Transfer& transfer, const KvPart& part) {
  const KvRoute route{
      .from = &staging_.storage->layout(),
      .from_place = {.slot = transfer.memory().slot, .pages = transfer.memory().pages},
      .to = &mapped_->layout(),
      .to_place = {.slot = transfer.lease().slot, .pages = transfer.lease().pages}};
  std::vector<KvCopy> copies = CopiesOf(route, part);
  uint64_t bytes = 0;
  for (const KvCopy& copy : copies) bytes += copy.bytes * staging_.storage->backends().size();
  transfer.Begin(bytes);
  copier_.Copy({.from = staging_.storage.get(),
                .to = mapped_.get(),
                .copies = std::move(copies),
                .cancelled = transfer.cancelled(),
                .done = [&transfer](const absl::Status& status) { transfer.End(status); }});
}

void IpcChannel::Fence(const LeaseKey& key, std::function<void(absl::Status)> done) {
  transfers_.at(key.lease_id)->WhenIdle(std::move(done));
}

void IpcChannel::Close(const LeaseKey& key) {
  const auto it = transfers_.find(key.lease_id);
  if (it == transfers_.end()) return;
  Allocation memory = it->second->TakeMemory();
  transfers_.erase(it);  // waits
  staging_.pages.Free(std::move(memory));
}

}  // namespace tandem
