// SPDX-License-Identifier: Apache-2.0
// The hand-off's values as messages, and back. Pure.
#pragma once

#include "absl/status/status.h"
#include "services/runtime/kv/kv_layout.h"
#include "services/runtime/kv/lease_table.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

// Rises when an old peer would misread a new one.
inline constexpr uint32_t kKvProtocolVersion = 2;
// Most data of one WriteKv message.
inline constexpr uint64_t kWriteKvBytesMax = 1 << 20;

v1::LeaseKey ToProto(const LeaseKey& key);
LeaseKey FromProto(const v1::LeaseKey& key);
LeaseKey KeyOf(const v1::Reservation& reservation);

// What is asked for before rows are sent by NCCL: of all layers.
struct LinkPart {
  LeaseKey key;
  KvPart part;
};
v1::LinkPart ToProto(const LinkPart& part);
LinkPart FromProto(const v1::LinkPart& part);

v1::KvFormat FormatOf(const KvLayout& layout);

// FAILED_PRECONDITION with both sides spelled out if the two do not mean the same bytes.
absl::Status CheckFormats(const v1::KvFormat& ours, const v1::KvFormat& theirs);

const char* NameOf(v1::KvChannelKind kind);  // "shared", "ipc", "nccl", "grpc"

}  // namespace tandem
