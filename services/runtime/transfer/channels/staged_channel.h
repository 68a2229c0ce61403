// SPDX-License-Identifier: Apache-2.0
// StagedChannel: what the kinds have in common that compute rows in a staging pool of this worker
// and bring them over from there.
//
// Full pages of a prompt travel while its next chunk is computed, so that what is left at its end
// is the last chunk's rows and the sequence's states; but not those of a kind that overrides
// Advance. A kind that takes layers sends these by SendLayers, and what it has not sent so is left.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "services/runtime/kv/kv_storage.h"
#include "services/runtime/kv/page_pool.h"
#include "services/runtime/transfer/kv_channel.h"

namespace tandem {

// Memory for prompts that are not computed in place; one a prefill worker, shared by its channels.
// Not thread-safe.
struct StagingPool {
  PoolId id = 0;
  std::unique_ptr<KvStorage> storage;
  PagePool pages;

  // Where memory of it is.
  KvPlace PlaceOf(const Allocation& memory) const {
    return {.pool = id, .view = storage->view(), .slot = memory.slot, .pages = memory.pages};
  }
};

class StagedChannel : public KvChannel {
 public:
  absl::StatusOr<KvPlace> Open(const Grant& lease, int tokens) override;
  void Advance(const LeaseKey& key, int tokens) override;
  void Write(const LeaseKey& key, int tokens) override;
  void Fence(const LeaseKey& key, std::function<void(absl::Status)> done) override;
  KvTravel Travel(const LeaseKey& key) const override;
  void Close(const LeaseKey& key) override;
  bool MayWrite(const LeaseKey& key) const override;
  bool Closing() const override { return !closed_.empty(); }
  void Tend() override;

 protected:
  // One prompt's orders. The destructor gives up what has not begun and waits for the rest: then
  // nobody reads the staging memory or writes the lease's.
  class Transfer {
   public:
    Transfer(Allocation memory, const Grant& lease) : memory_(std::move(memory)), lease_(lease) {}
    ~Transfer();
    Transfer(const Transfer&) = delete;
    Transfer& operator=(const Transfer&) = delete;

    const Allocation& memory() const { return memory_; }
    const Grant& lease() const { return lease_; }
    // Set once it is given up.
    const std::atomic<bool>* cancelled() const { return &cancelled_; }

    // An order is made, for which so much travels; it has ended, from any thread.
    void Begin(const KvTravel& travel) ABSL_LOCKS_EXCLUDED(mutex_);
    void End(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);

   private:
    friend class StagedChannel;
    void WhenIdle(std::function<void(absl::Status)> done) ABSL_LOCKS_EXCLUDED(mutex_);
    bool Over() const ABSL_LOCKS_EXCLUDED(mutex_);
    bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return orders_ == 0; }

    Allocation memory_;
    const Grant lease_;
    int pages_sent_ = 0;   // that were ordered, of all layers
    int layers_sent_ = 0;  // of which all was
    std::atomic<bool> cancelled_ = false;
    mutable absl::Mutex mutex_;
    int orders_ ABSL_GUARDED_BY(mutex_) = 0;  // not done yet
    KvTravel travel_ ABSL_GUARDED_BY(mutex_);
    absl::Time busy_since_ ABSL_GUARDED_BY(mutex_);
    absl::Status status_ ABSL_GUARDED_BY(mutex_);
    std::function<void(absl::Status)> done_ ABSL_GUARDED_BY(mutex_);
  };

  // Borrows the staging pool. Whoever derives closes all in the destructor, for orders use it.
  explicit StagedChannel(StagingPool& staging) : staging_(staging) {}
  void CloseAll();
  // AdvanceLayers, of a kind that takes them.
  void SendLayers(const LeaseKey& key, int tokens, int layers);

  const StagingPool& staging() const { return staging_; }
  // Orders that a part of the rows is brought over: Begin now, End when it is done.
  virtual void Send(Transfer& transfer, const KvPart& part) = 0;
  // One is closed: what it ordered and has not begun ends at once.
  virtual void GiveUp(const LeaseKey& /*key*/) {}
  // Whether the decode worker keeps a lease for as long as such orders run, whatever it is told.
  virtual bool PeerKeepsLease() const { return false; }

 private:
  using Transfers = std::map<uint64_t, std::unique_ptr<Transfer>>;
  // Waits, and gives its staging memory back.
  void End(std::unique_ptr<Transfer> transfer);

  StagingPool& staging_;
  Transfers transfers_;                            // by lease id
  std::vector<std::unique_ptr<Transfer>> closed_;  // whose orders are not over
};

}  // namespace tandem
