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
  // What is sent, and how.
  struct Rows {
    const KvStorage& storage;
    std::vector<KvExtent> extents;
    bool data_runs_on = false;
  };
  Call(v1::DecodeService::StubInterface& stub, const LeaseKey& key, int tokens, Rows rows)
      : rows_(std::move(rows)) {
    for (const KvExtent& extent : rows_.extents) travel_.bytes += extent.bytes;
    KvCursor begin;
    travel_.descriptors = TakeRuns(rows_.extents, travel_.bytes, begin).size();
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

  const KvTravel& travel() const { return travel_; }

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
    if (result.ok() && response_.bytes() != travel_.bytes) {
      result = absl::DataLossError(absl::StrCat("WriteKv: ", travel_.bytes, " bytes were sent, ",
                                                response_.bytes(), " arrived"));
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
    if (at_.extent == rows_.extents.size()) {
      StartWritesDone();
      return;
    }
    message_.set_extent(static_cast<uint32_t>(at_.extent));
    message_.set_offset(at_.offset);
    const uint64_t of_extent = rows_.extents[at_.extent].bytes - at_.offset;
    const uint64_t most =
        rows_.data_runs_on ? kWriteKvBytesMax : std::min(kWriteKvBytesMax, of_extent);
    std::string& data = *message_.mutable_data();
    for (const KvExtent& run : TakeRuns(rows_.extents, most, at_)) {
      const size_t begin = data.size();
      data.resize(begin + run.bytes);
      rows_.storage.Read(run.offset, absl::MakeSpan(data).subspan(begin));
    }
    StartWrite(&message_);
  }

  grpc::ClientContext context_;
  v1::WriteKvRequest message_;
  v1::WriteKvResponse response_;
  const Rows rows_;
  KvTravel travel_;
  KvCursor at_;  // of the next message
  absl::Mutex mutex_;
  std::optional<absl::Status> result_ ABSL_GUARDED_BY(mutex_);
  std::function<void(absl::Status)> done_ ABSL_GUARDED_BY(mutex_);
  absl::Notification ended_;
};

GrpcChannel::GrpcChannel(StagingPool& staging, v1::DecodeService::StubInterface& stub,
                         bool data_runs_on)
    : staging_(staging), stub_(stub), data_runs_on_(data_runs_on) {}

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
  const KvStorage& storage = *staging_.storage;
  transfer.call =
      std::make_unique<Call>(stub_, key, tokens,
                             Call::Rows{.storage = storage,
                                        .extents = storage.layout().Extents(placement, tokens),
                                        .data_runs_on = data_runs_on_});
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
