// SPDX-License-Identifier: Apache-2.0
// LeaseTable: who may use which memory of the pool, as a value machine. Pure: no thread, no clock,
// no RPC. Not thread-safe.
//
//   Grant ──→ Granted ──BeginWrite──→ Writing ──EndWrite──→ Filled ──Commit──→ Committed
//   ──Finish──→ free
//                │                       │                    │
//                └─Release, expiry→ free │                    └─Release, expiry→ free
//                                        └─Release, link lost→ Quarantined ──EndWrite, link dead──→
//                                        free
//
// The rule behind it (serving.md 6.4): time alone never frees a page that a peer can still write. A
// writer that maps the pool (in place) keeps its pages in quarantine until it says so or its
// process is gone; a writer that sends bytes can be refused at the door, so its pages are free at
// once.
//
// So what expires is a lease that nobody has taken up: until a writer begins, and again, for as
// long, once it has ended. In between the lease lasts as long as its writer does, however long the
// prompt waits and takes: the link's end ends it, and Release, which whoever reserved says at the
// request's deadline at the latest.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/runtime/kv/page_pool.h"

namespace tandem {

using LinkId = uint32_t;

// Names one grant of one process. All three must be current, or the holder is talking about
// something that is gone.
struct LeaseKey {
  uint64_t incarnation = 0;
  uint64_t lease_id = 0;
  uint64_t epoch = 0;
  friend bool operator==(const LeaseKey&, const LeaseKey&) = default;
};

struct Grant {
  LeaseKey key;
  int slot = -1;
  std::vector<int> pages;
};

// A writer that must be told to stop.
struct Revocation {
  LinkId link = 0;
  LeaseKey key;
};

class LeaseTable {
 public:
  // `incarnation` names this process; `seed` makes lease ids hard to guess.
  struct Options {
    uint64_t incarnation = 0;
    uint64_t seed = 0;
    absl::Duration ttl = absl::Seconds(60);  // of a lease that nobody has taken up
    int page_tokens = 256;
  };
  LeaseTable(const Options& options, PagePool pool);

  // RESOURCE_EXHAUSTED if memory for `tokens` tokens is not free.
  absl::StatusOr<Grant> GrantLease(int64_t tokens, absl::Time now);

  // ABORTED if the lease is not in the state that the event needs.
  absl::StatusOr<Grant> BeginWrite(const LeaseKey& key, LinkId link, bool in_place);
  // What its link has written. `tokens`: how many have their rows in place; 0 = it has given up.
  struct Filling {
    LinkId link = 0;
    int64_t tokens = 0;
  };
  absl::Status EndWrite(const LeaseKey& key, const Filling& filling, absl::Time now);
  // INVALID_ARGUMENT if another number of tokens has its rows in place; then the lease is free.
  absl::StatusOr<Grant> Commit(const LeaseKey& key, int64_t tokens);

  // Memory of a lease that a byte writer fills now; ABORTED otherwise.
  absl::StatusOr<Grant> WritableByBytes(const LeaseKey& key) const;

  // Memory of a lease that this link writes to now in place, by whatever hand; ABORTED otherwise.
  absl::StatusOr<Grant> WritableByLink(const LeaseKey& key, LinkId link) const;

  // A committed sequence ends. CHECKs that it is one.
  void Finish(const LeaseKey& key);

  // Gives an uncommitted lease back; harmless if it is gone. A non-empty result must be sent.
  std::vector<Revocation> Release(const LeaseKey& key);
  // Those that have expired are free now.
  std::vector<LeaseKey> Expire(absl::Time now);

  // The link's connection broke; in-place writers may still run.
  void LinkLost(LinkId link);
  // Its process is gone, or has unmapped the pool.
  void LinkDead(LinkId link);

  struct Counts {
    int granted = 0, writing = 0, filled = 0, committed = 0, quarantined = 0;
    int pages_held = 0;        // sum over all leases: of those
    int pages_leased_out = 0;  // granted or filled
    int pages_writing = 0, pages_committed = 0, pages_quarantined = 0;
  };
  Counts counts() const;
  const PagePool& pool() const { return pool_; }

 private:
  struct Granted {
    absl::Time expiry;
  };
  struct Writing {
    LinkId link;
    bool in_place;
  };
  struct Filled {
    absl::Time expiry;
    int64_t tokens;
  };
  struct Committed {};
  struct Quarantined {
    LinkId link;
  };
  using State = std::variant<Granted, Writing, Filled, Committed, Quarantined>;
  struct Lease {
    LeaseKey key;
    Allocation memory;
    State state;
  };
  using Leases = std::map<uint64_t, Lease>;  // by lease id

  // The lease, if the key is its and it is not over; ABORTED.
  absl::StatusOr<const Lease*> Find(const LeaseKey& key) const;
  absl::StatusOr<Lease*> Find(const LeaseKey& key);
  static Grant GrantOf(const Lease& lease);
  Leases::iterator Free(Leases::iterator lease);
  // An uncommitted lease ends: freed, or put in quarantine with its writer added to `revoked`.
  Leases::iterator End(Leases::iterator lease, std::vector<Revocation>& revoked);

  const Options options_;
  PagePool pool_;
  Leases leases_;
  uint64_t epoch_ = 0;
  uint64_t next_id_;
};

}  // namespace tandem
