// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/wire.h"

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"

namespace tandem {

v1::LeaseKey ToProto(const LeaseKey& key) {
  v1::LeaseKey out;
  out.set_incarnation(key.incarnation);
  out.set_lease_id(key.lease_id);
  out.set_epoch(key.epoch);
  return out;
}

LeaseKey FromProto(const v1::LeaseKey& key) {
  return {.incarnation = key.incarnation(), .lease_id = key.lease_id(), .epoch = key.epoch()};
}

LeaseKey KeyOf(const v1::Reservation& reservation) {
  return {.incarnation = reservation.incarnation(),
          .lease_id = reservation.lease_id(),
          .epoch = reservation.epoch()};
}

v1::LinkPart ToProto(const LinkPart& part) {
  CHECK_EQ(part.part.layers.begin, 0);
  CHECK_EQ(part.part.layers.end, KvLayers().end);
  v1::LinkPart out;
  *out.mutable_lease() = ToProto(part.key);
  out.set_tokens(static_cast<uint32_t>(part.part.tokens));
  out.set_first_page(static_cast<uint32_t>(part.part.first_page));
  out.set_states(part.part.states);
  return out;
}

LinkPart FromProto(const v1::LinkPart& part) {
  return {.key = FromProto(part.lease()),
          .part = {.tokens = part.tokens(),
                   .first_page = static_cast<int>(part.first_page()),
                   .states = part.states()}};
}

v1::KvFormat FormatOf(const KvLayout& layout) {
  v1::KvFormat out;
  out.set_protocol_version(kKvProtocolVersion);
  out.set_layout_hash(layout.layout_hash());
  out.set_description(layout.Describe());
  out.set_page_tokens(kPageTokens);
  return out;
}

absl::Status CheckFormats(const v1::KvFormat& ours, const v1::KvFormat& theirs) {
  if (ours.protocol_version() == theirs.protocol_version() &&
      ours.layout_hash() == theirs.layout_hash() && ours.page_tokens() == theirs.page_tokens()) {
    return absl::OkStatus();
  }
  const auto side = [](const v1::KvFormat& format) {
    return absl::StrCat("protocol ", format.protocol_version(), ", page ", format.page_tokens(),
                        " tokens, layout ", absl::Hex(format.layout_hash()), " {",
                        format.description(), "}");
  };
  return absl::FailedPreconditionError(
      absl::StrCat("KV format: this side has ", side(ours), "; the other side has ", side(theirs)));
}

const char* NameOf(v1::KvChannelKind kind) {
  switch (kind) {
    case v1::KV_CHANNEL_KIND_SHARED:
      return "shared";
    case v1::KV_CHANNEL_KIND_GRPC:
      return "grpc";
    case v1::KV_CHANNEL_KIND_IPC:
      return "ipc";
    case v1::KV_CHANNEL_KIND_NCCL:
      return "nccl";
    default:
      return "unspecified";
  }
}

}  // namespace tandem
