// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/channels/staged_channel.h"

#include "absl/algorithm/container.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {

StagedChannel::Transfer::~Transfer() {
  cancelled_ = true;
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &Transfer::Idle));
}

void StagedChannel::Transfer::Begin(const KvTravel& travel) {
  absl::MutexLock lock(&mutex_);
  if (orders_++ == 0) busy_since_ = Clock::Real().Now();
  travel_.bytes += travel.bytes;
  travel_.descriptors += travel.descriptors;
}

void StagedChannel::Transfer::End(const absl::Status& status) {
  mutex_.Lock();
  if (status_.ok()) status_ = status;
  if (orders_ == 1) travel_.under_way += Clock::Real().Now() - busy_since_;
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

void StagedChannel::Transfer::WhenIdle(std::function<void(absl::Status)> done) {
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

bool StagedChannel::Transfer::Over() const {
  absl::MutexLock lock(&mutex_);
  return Idle();
}

absl::StatusOr<KvPlace> StagedChannel::Open(const Grant& lease, int tokens) {
  ASSIGN_OR_RETURN(Allocation memory, staging_.pages.Allocate(KvLayout::PagesFor(tokens)));
  KvPlace place = staging_.PlaceOf(memory);
  transfers_.emplace(lease.key.lease_id, std::make_unique<Transfer>(std::move(memory), lease));
  return place;
}

void StagedChannel::Advance(const LeaseKey& key, int tokens) {
  Transfer& transfer = *transfers_.at(key.lease_id);
  CHECK_EQ(transfer.layers_sent_, 0);
  const int full = tokens / kPageTokens;
  if (full <= transfer.pages_sent_) return;
  Send(
      transfer,
      {.tokens = int64_t{full} * kPageTokens, .first_page = transfer.pages_sent_, .states = false});
  transfer.pages_sent_ = full;
}

void StagedChannel::SendLayers(const LeaseKey& key, int tokens, int layers) {
  Transfer& transfer = *transfers_.at(key.lease_id);
  CHECK_GT(layers, transfer.layers_sent_);
  Send(transfer, {.tokens = tokens,
                  .first_page = transfer.pages_sent_,
                  .layers = {.begin = transfer.layers_sent_, .end = layers}});
  transfer.layers_sent_ = layers;
}

void StagedChannel::Write(const LeaseKey& key, int tokens) {
  Transfer& transfer = *transfers_.at(key.lease_id);
  if (transfer.layers_sent_ == staging_.storage->layout().num_layers()) return;
  Send(transfer, {.tokens = tokens,
                  .first_page = transfer.pages_sent_,
                  .layers = {.begin = transfer.layers_sent_}});
}

KvTravel StagedChannel::Travel(const LeaseKey& key) const {
  const Transfer& transfer = *transfers_.at(key.lease_id);
  const absl::MutexLock lock(&transfer.mutex_);
  return transfer.travel_;
}

void StagedChannel::Fence(const LeaseKey& key, std::function<void(absl::Status)> done) {
  transfers_.at(key.lease_id)->WhenIdle(std::move(done));
}

void StagedChannel::End(std::unique_ptr<Transfer> transfer) {
  Allocation memory = std::move(transfer->memory_);
  transfer.reset();  // waits
  staging_.pages.Free(std::move(memory));
}

void StagedChannel::Tend() {
  for (auto it = closed_.begin(); it != closed_.end();) {
    if ((*it)->Over()) {
      End(std::move(*it));
      it = closed_.erase(it);
    } else {
      ++it;
    }
  }
}

void StagedChannel::Close(const LeaseKey& key) {
  const auto it = transfers_.find(key.lease_id);
  if (it == transfers_.end()) return;
  it->second->cancelled_ = true;
  GiveUp(key);
  closed_.push_back(std::move(it->second));
  transfers_.erase(it);
  Tend();
}

bool StagedChannel::MayWrite(const LeaseKey& key) const {
  return !PeerKeepsLease() &&
         absl::c_any_of(closed_, [&key](const std::unique_ptr<Transfer>& transfer) {
           return transfer->lease().key == key;
         });
}

void StagedChannel::CloseAll() {
  for (auto& [lease, transfer] : transfers_) End(std::move(transfer));
  for (std::unique_ptr<Transfer>& transfer : closed_) End(std::move(transfer));
  transfers_.clear();
  closed_.clear();
}

}  // namespace tandem
