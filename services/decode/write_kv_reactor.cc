// SPDX-License-Identifier: Apache-2.0
#include "services/decode/write_kv_reactor.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/transfer/wire.h"

namespace tandem {

WriteKvReactor::WriteKvReactor(DecodeLoop& loop, v1::WriteKvResponse& response,
                               Quota::Ticket ticket)
    : loop_(loop), response_(response), ticket_(std::move(ticket)) {
  StartRead(&request_);
}

void WriteKvReactor::OnReadDone(bool ok) {
  if (!ok) {
    Finish(grpc::Status::OK);  // all pieces are in place; a cancelled call ends the same way
    return;
  }
  if (std::exchange(first_, false)) {
    key_ = FromProto(request_.lease());
    tokens_ = static_cast<int>(request_.tokens());
  }
  WriteKvCommand command{.key = key_,
                         .tokens = tokens_,
                         .extents = &extents_,
                         .piece = &request_,
                         .reply = [this](const absl::Status& status) { OnCopied(status); }};
  if (!loop_.PostAlways(std::move(command))) {
    Finish(ToGrpcStatus(WorkerLost({.message = "the decode worker is shutting down"})));
  }
}

void WriteKvReactor::OnDone() {
  Order();
  delete this;
}

void WriteKvReactor::OnCopied(const absl::Status& status) {
  Order();
  if (!status.ok()) {
    Finish(ToGrpcStatus(status));
    return;
  }
  response_.set_bytes(response_.bytes() + request_.data().size());
  StartRead(&request_);
}

absl::Status CopyPiece(const WriteKvCommand& command, const Grant& memory,
                       const KvStorage& storage) {
  const v1::WriteKvRequest& piece = *command.piece;
  std::vector<KvExtent>& extents = *command.extents;
  if (extents.empty()) {
    const int64_t room = static_cast<int64_t>(memory.pages.size()) * kPageTokens;
    if (command.tokens < 1 || command.tokens > room) {
      return InvalidField("tokens",
                          absl::StrCat("1 to ", room, " (reserved), got ", command.tokens));
    }
    extents =
        storage.layout().Extents({.slot = memory.slot, .pages = memory.pages}, command.tokens);
  }
  if (piece.extent() >= extents.size()) {
    return InvalidField("extent", absl::StrCat("below ", extents.size(), ", got ", piece.extent()));
  }
  if (const uint64_t bytes = extents[piece.extent()].bytes; piece.offset() >= bytes)
    return InvalidField("offset", absl::StrCat("below ", bytes, ", got ", piece.offset()));
  absl::string_view data = piece.data();
  KvCursor at{.extent = piece.extent(), .offset = piece.offset()};
  const std::vector<KvExtent> runs = TakeRuns(extents, data.size(), at);
  uint64_t room = 0;
  for (const KvExtent& run : runs) room += run.bytes;
  if (room < data.size()) {
    return InvalidField("data", absl::StrCat("at most ", room, " bytes from extent ",
                                             piece.extent(), " on, got ", data.size()));
  }
  for (const KvExtent& run : runs) {
    storage.Write(run.offset, data.substr(0, run.bytes));
    data.remove_prefix(run.bytes);
  }
  return absl::OkStatus();
}

}  // namespace tandem
