// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/channels/grpc_channel.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/transfer/wire.h"

namespace tandem {

// One WriteKv call. The destructor cancels what still runs and waits for its end.
class GrpcChannel::Call final : public grpc::ClientWriteReactor<v1::WriteKvRequest> {
 public:
  // What is sent, and how.
  struct Rows {
    const KvStorage& storage;
    std::vector<KvExtent> extents;
    bool data_runs_on = false;
  };
  // `transfer` is told of the end, which it waits for.
  Call(Transfer& transfer, int tokens, Rows rows) : transfer_(transfer), rows_(std::move(rows)) {
    KvTravel travel;
    for (const KvExtent& extent : rows_.extents) travel.bytes += extent.bytes;
    KvCursor begin;
    travel.descriptors = TakeRuns(rows_.extents, travel.bytes, begin).size();
    bytes_ = travel.bytes;
    transfer_.Begin(travel);
    *message_.mutable_lease() = ToProto(transfer_.lease().key);
    message_.set_tokens(tokens);
  }
  ~Call() override {
    Cancel();
    ended_.WaitForNotification();
  }

  void Start(v1::DecodeService::StubInterface& stub) {
    stub.async()->WriteKv(&context_, &response_, this);
    WriteNext();
    StartCall();
  }
  void Cancel() { context_.TryCancel(); }
  bool Over() const { return ended_.HasBeenNotified(); }

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
    transfer_.End(result);
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

  Transfer& transfer_;
  grpc::ClientContext context_;
  v1::WriteKvRequest message_;
  v1::WriteKvResponse response_;
  const Rows rows_;
  uint64_t bytes_ = 0;
  KvCursor at_;  // of the next message
  absl::Notification ended_;
};

GrpcChannel::GrpcChannel(StagingPool& staging, v1::DecodeService::StubInterface& stub,
                         bool data_runs_on)
    : StagedChannel(staging), stub_(stub), data_runs_on_(data_runs_on) {}

GrpcChannel::~GrpcChannel() {
  for (const auto& [lease, call] : calls_) call->Cancel();
  CloseAll();
}

void GrpcChannel::Send(Transfer& transfer, const KvPart& part) {
  const KvStorage& rows = *staging().storage;
  std::vector<KvExtent> extents = rows.layout().Extents(
      {.slot = transfer.memory().slot, .pages = transfer.memory().pages}, part);
  auto call = std::make_unique<Call>(
      transfer, static_cast<int>(part.tokens),
      Call::Rows{.storage = rows, .extents = std::move(extents), .data_runs_on = data_runs_on_});
  call->Start(stub_);
  calls_[transfer.lease().key.lease_id] = std::move(call);
}

void GrpcChannel::GiveUp(const LeaseKey& key) {
  const auto it = calls_.find(key.lease_id);
  if (it != calls_.end()) it->second->Cancel();
}

void GrpcChannel::Tend() {
  StagedChannel::Tend();
  std::erase_if(calls_, [](const auto& entry) { return entry.second->Over(); });
}

}  // namespace tandem
