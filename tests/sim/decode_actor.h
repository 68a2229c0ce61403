// SPDX-License-Identifier: Apache-2.0
// DecodeActor: one start of a decode worker: the real LeaseTable, PagePool and DecodeScheduler, and
// around them what DecodeLoop does with them, without thread, model and gRPC. Messages arrive in
// any order that the network allows; steps come when the world says so.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/kv/lease_table.h"
#include "services/runtime/scheduler/decode_scheduler.h"
#include "tests/sim/network.h"
#include "tests/sim/truth.h"

namespace tandem {

// What every actor stands on.
struct Ground {
  Random& random;
  const Clock& clock;
  Network& network;
  Truth& truth;
};

// How the other end of a link hears of it.
struct LinkPeer {
  std::function<void()> up;
  std::function<void(const absl::Status&)> refused;
  std::function<void(const LeaseKey&, std::optional<Grant>)> verdict;
  std::function<void(const LeaseKey&)> revoked;
  std::function<void(const LeaseKey&)> ended;
};

struct SimReserve {
  RequestUid request = 0;
  int prompt_tokens = 0;
  int max_tokens = 0;
  std::function<void(const absl::StatusOr<Grant>&)> reply;
};

struct SimGenerate {
  RequestUid request = 0;
  LeaseKey key;
  int prompt_tokens = 0;
  int max_tokens = 0;
  int32_t stop_token = -1;
  // A token or the end; an error is the end.
  std::function<void(std::optional<int32_t>, std::optional<EndReason>, const absl::Status&)> reply;
};

class DecodeActor {
 public:
  struct Options {
    ProcessId process = 0;
    uint64_t incarnation = 0;
    int pages = 0;
    int slots = 0;
    int batch_max = 0;
    absl::Duration lease_ttl;
  };
  DecodeActor(const Options& options, const Ground& ground);

  ProcessId process() const { return options_.process; }
  uint64_t incarnation() const { return options_.incarnation; }
  const LeaseTable& leases() const { return leases_; }
  int leases_expired() const { return leases_expired_; }
  // No memory is held.
  bool AllFree() const;

  // --- Messages. ---
  void Reserve(ConnectionId call, const SimReserve& reserve);
  void Release(const LeaseKey& key);
  void Generate(ConnectionId call, SimGenerate generate);
  void GenerateLost(ConnectionId call);
  struct Hello {
    uint64_t incarnation = 0;  // that is meant
    bool in_place = false;
  };
  void OpenLink(LinkId link, const Hello& hello, LinkPeer peer);
  void BeginWrite(LinkId link, const LeaseKey& key);
  // `tokens`: rows in place; 0 = given up.
  void EndWrite(LinkId link, const LeaseKey& key, int tokens);
  void LinkLost(LinkId link);
  // A piece of rows as bytes; what is wrong with it is the answer.
  absl::Status Paste(const LeaseKey& key, const Truth::Piece& piece);

  // Something wrong, late or said twice, of a lease that this process or another one has granted
  // lately.
  void Hear(const DecodeActor& other);

  // --- The loop. ---
  void Step();
  void Reap();
  // What must hold between any two events.
  void Check();

 private:
  struct Sequence {
    ConnectionId call = 0;
    SimGenerate generate;
    Grant memory;
    int position = 0;   // of the token to be read next
    int steps_due = 0;  // its turn comes within this many steps
  };
  struct Link {
    bool in_place = false;
    LinkPeer peer;
  };
  // Of leases that ended while they were written; `writing` there were before.
  void Tell(const std::vector<Revocation>& revocations, int writing);
  // Everything about a lease that is not current: it must change nothing.
  void Refuse(const LeaseKey& key);
  // That a link which does not write to it has stopped: the same.
  void RefuseEnd(const LeaseKey& key);
  void RefuseBytes(const LeaseKey& key);
  void End(SequenceId id, std::optional<EndReason> reason, const absl::Status& status);
  int TurnsWithin() const;

  const Options options_;
  const Ground ground_;
  LeaseTable leases_;
  int leases_expired_ = 0;
  DecodeScheduler scheduler_;
  std::map<SequenceId, Sequence> sequences_;
  SequenceId next_id_ = 1;
  std::map<LinkId, Link> open_;
  std::vector<LinkId> closed_;                           // not yet known to be unmapped
  std::deque<std::pair<LeaseKey, SimReserve>> granted_;  // the newest ones
  std::map<KeyParts, LinkId> bytes_from_;                // who writes as bytes now
};

}  // namespace tandem
