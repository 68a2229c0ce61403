// SPDX-License-Identifier: Apache-2.0
// KvChannel: how the rows of a prompt get from the prefill worker that computes them into the pages
// of the decode worker that owns them. One of the four seams (design section 4): `shared` writes in
// place, `ipc` copies from GPU to GPU, `nccl` sends from GPU to GPU, `grpc` sends bytes.
//
// Used by the prefill loop alone (not thread-safe); `done` of Fence comes from any thread. For one
// lease: Open, any number of Forward steps on the place with an Advance behind each but the last,
// within which AdvanceLayers may come, Write, Fence, Close. Close may come at any time.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/runtime/kv/kv_layout.h"
#include "services/runtime/kv/lease_table.h"
#include "services/runtime/scheduler/sequence.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

// Where a sequence is computed.
struct KvPlace {
  PoolId pool = 0;
  KvView view;
  int slot = 0;
  std::vector<int> pages;
};

// What a hand-off moves.
struct KvTravel {
  uint64_t bytes = 0;
  uint64_t descriptors = 0;  // copies, or runs of bytes, neighbours joined
  absl::Duration under_way;  // how long some of it was, from its order to its end
};

class KvChannel {
 public:
  virtual ~KvChannel() = default;

  virtual v1::KvChannelKind kind() const = 0;

  // RESOURCE_EXHAUSTED: not now, but when another lease is closed. The lease must be begun on the
  // link.
  virtual absl::StatusOr<KvPlace> Open(const Grant& lease, int tokens) = 0;

  // The first `tokens` rows are computed, and more will be: they may travel already.
  virtual void Advance(const LeaseKey& /*key*/, int /*tokens*/) {}

  // Whether it makes use of AdvanceLayers, which costs a step something.
  virtual bool TakesLayers() const { return false; }
  // In the first `layers` layers all `tokens` rows and the states are computed, while the step goes
  // on: they may travel already. `layers` rises; nothing else is said of more rows then.
  virtual void AdvanceLayers(const LeaseKey& /*key*/, int /*tokens*/, int /*layers*/) {}

  // All `tokens` rows are computed: bring them over.
  virtual void Write(const LeaseKey& key, int tokens) = 0;

  // `done` is called once when every byte is where it must be, or can never get there.
  virtual void Fence(const LeaseKey& key, std::function<void(absl::Status)> done) = 0;

  // What has travelled for an open lease, in place nothing; all of it once the fence has passed.
  virtual KvTravel Travel(const LeaseKey& /*key*/) const { return {}; }

  // After this nothing more is begun for the lease. What runs goes on, and nobody waits for it.
  virtual void Close(const LeaseKey& key) = 0;
  // Whether that may still write into a closed lease's memory without the decode worker's
  // knowledge, which may hear of the lease's end only after that.
  virtual bool MayWrite(const LeaseKey& /*key*/) const { return false; }
  // Whether it runs for any closed lease: then the destructor waits.
  virtual bool Closing() const { return false; }

  // Now and then: gives memory back that closed leases have had to keep.
  virtual void Tend() {}
};

}  // namespace tandem
