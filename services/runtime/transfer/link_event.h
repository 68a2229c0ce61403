// SPDX-License-Identifier: Apache-2.0
// What a prefill worker hears on its link to a decode worker. Values: made on gRPC's threads, acted
// on by the loop.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "services/runtime/kv/kv_storage.h"
#include "services/runtime/kv/lease_table.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

// Names a link of this process; never reused.
using LinkSerial = uint64_t;

// The link stands. `mapped` is the decode worker's pool, or null when rows travel as bytes;
// `data_runs_on` says what one message may then hold, as in the offer.
struct LinkUp {
  v1::KvChannelKind kind = v1::KV_CHANNEL_KIND_GRPC;
  std::unique_ptr<KvStorage> mapped;
  bool data_runs_on = false;
  std::string downgrade_reason;  // why not the kind that was wanted
};
// The link is gone or was refused; nothing more comes. Leases begun over it are lost.
struct LinkDown {
  absl::Status why;
};
struct LeaseVerdict {
  LeaseKey key;
  std::optional<Grant> memory;  // none: refused
};
// The decode worker has the pages again: the fence.
struct LeaseEnded {
  LeaseKey key;
};
struct LeaseRevoked {
  LeaseKey key;
};

struct LinkEvent {
  LinkSerial link = 0;
  std::variant<LinkUp, LinkDown, LeaseVerdict, LeaseEnded, LeaseRevoked> what;
};

}  // namespace tandem
