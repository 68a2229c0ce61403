// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/channels/grpc_channel.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/transfer/wire.h"

namespace tandem {

// One WriteKv call. The destructor cancels what still runs and waits for its end: then nobody reads
// the staging memory.
class GrpcChannel::Call final : public grpc::ClientWriteReactor<v1::WriteKvRequest> {
 public:
  Call(v1::DecodeService::StubInterface& stub, const LeaseKey& key, int tokens,
       const KvStorage& storage, std::vector<KvExtent> extents)
      : storage_(storage), extents_(std::move(extents)) {
    for (const KvExtent& extent : extents_) bytes_ += extent.bytes;
    *message_.mutable_lease() = ToProto(key);
    message_.set_tokens(tokens);
    stub.async()->WriteKv(&context_, &response_, this);
    WriteNext();
    StartCall();
  }

  ~Call() override {
    context_.TryCancel();
    ended_.WaitForNotification();
  }

  KvTravel travel() const { return {.bytes = bytes_, .descriptors = extents_.size()}; }

  void WhenDone(std::function<void(absl::Status)> done) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::Status result;
    {
      absl::MutexLock lock(&mutex_);
      if (!result_.has_value()) {
        done_ = std::move(done);
        return;
      }
      result = *result_;
    }
    done(std::move(result));
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return;  // OnDone says why.
    message_.Clear();
    WriteNext();
  }

  void OnDone(const grpc::Status& status) override {
    absl::Status result = FromGrpcStatus(status);
    if (result.ok() && response_.bytes() != bytes_) {
      result = absl::DataLossError(
          absl::StrCat("WriteKv: ", bytes_, " bytes were sent, ", response_.bytes(), " arrived"));
    }
    std::function<void(absl::Status)> done;
    {
      absl::MutexLock lock(&mutex_);
      result_ = result;
      done = std::move(done_);
    }
    if (done) done(std::move(result));
    ended_.Notify();
  }

 private:
  void WriteNext() {
    if (extent_ == extents_.size()) {
      StartWritesDone();
      return;
    }
    const KvExtent& extent = extents_[extent_];
    const uint64_t count = std::min(kWriteKvBytesMax, extent.bytes - offset_);
    message_.set_extent(extent_);
    message_.set_offset(offset_);
    std::string& data = *message_.mutable_data();
    data.resize(count);
    storage_.Read(extent.offset + offset_, absl::MakeSpan(data));
    offset_ += count;
    if (offset_ == extent.bytes) {
      ++extent_;
      offset_ = 0;
    }
    StartWrite(&message_);
  }

  grpc::ClientContext context_;
  v1::WriteKvRequest message_;
  v1::WriteKvResponse response_;
  const KvStorage& storage_;
  const std::vector<KvExtent> extents_;
  uint64_t bytes_ = 0;
  uint32_t extent_ = 0;  // of the next message
  uint64_t offset_ = 0;
  absl::Mutex mutex_;
  std::optional<absl::Status> result_ ABSL_GUARDED_BY(mutex_);
  std::function<void(absl::Status)> done_ ABSL_GUARDED_BY(mutex_);
  absl::Notification ended_;
};

GrpcChannel::GrpcChannel(StagingPool& staging, v1::DecodeService::StubInterface& stub)
    : staging_(staging), stub_(stub) {}

GrpcChannel::~GrpcChannel() {
  while (!transfers_.empty()) Close({.lease_id = transfers_.begin()->first});
}

absl::StatusOr<KvPlace> GrpcChannel::Open(const Grant& lease, int tokens) {
  ASSIGN_OR_RETURN(Allocation memory, staging_.pages.Allocate(KvLayout::PagesFor(tokens)));
  KvPlace place = staging_.PlaceOf(memory);
  transfers_.emplace(lease.key.lease_id, Transfer{.memory = std::move(memory), .call = nullptr});
  return place;
}

KvTravel GrpcChannel::Write(const LeaseKey& key, int tokens) {
  Transfer& transfer = transfers_.at(key.lease_id);
  const KvPlacement placement{.slot = transfer.memory.slot, .pages = transfer.memory.pages};
  transfer.call = std::make_unique<Call>(stub_, key, tokens, *staging_.storage,
                                         staging_.storage->layout().Extents(placement, tokens));
  return transfer.call->travel();
}

void GrpcChannel::Fence(const LeaseKey& key, std::function<void(absl::Status)> done) {
  const Transfer& transfer = transfers_.at(key.lease_id);
  CHECK(transfer.call != nullptr);
  transfer.call->WhenDone(std::move(done));
}

void GrpcChannel::Close(const LeaseKey& key) {
  const auto it = transfers_.find(key.lease_id);
  if (it == transfers_.end()) return;
  it->second.call.reset();  // waits: nobody reads the memory after this
  staging_.pages.Free(std::move(it->second.memory));
  transfers_.erase(it);
}

}  // namespace tandem
