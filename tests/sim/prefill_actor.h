// SPDX-License-Identifier: Apache-2.0
// PrefillActor: one start of a prefill worker: the real PrefillScheduler, the real PagePool for
// staging, and around them what PrefillLoop, Peers and the two channels do with them, without
// thread, model and gRPC.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "services/runtime/scheduler/prefill_scheduler.h"
#include "tests/sim/decode_actor.h"

namespace tandem {

struct SimPrefill {
  RequestUid request = 0;
  LeaseKey key;
  int endpoint = 0;  // of the decode worker
  int tokens = 0;
  // Once: OK = the first token is drawn and the rows are in place.
  std::function<void(const absl::Status&)> reply;
};

class PrefillActor {
 public:
  struct Options {
    ProcessId process = 0;
    uint64_t pool = 0;  // name of the staging pool
    int staging_pages = 0;
    int staging_slots = 0;
    int chunk_tokens = 0;
    absl::Duration link_timeout;
    int in_place = 0;  // the endpoint of which it maps the pool; the others get bytes
    std::function<DecodeActor&(int)> decode_at;
  };
  PrefillActor(const Options& options, const Ground& ground);
  // The kernel drops every mapping.
  ~PrefillActor();
  PrefillActor(const PrefillActor&) = delete;
  PrefillActor& operator=(const PrefillActor&) = delete;

  ProcessId process() const { return options_.process; }
  bool Idle() const { return prompts_.empty(); }

  void Prefill(ConnectionId call, SimPrefill prefill);
  void PrefillLost(ConnectionId call);

  // --- The loop. ---
  void Step();
  void Tend();

 private:
  enum class Stage { kLinking, kAsking, kStaging, kReading, kHanding, kEnding };
  struct Peer {
    DecodeActor* decode = nullptr;  // only for what is sent there: it may be dead
    ProcessId process = 0;
    uint64_t incarnation = 0;
    bool in_place = false;
    bool up = false;
    absl::Time opened;
  };
  struct Prompt {
    ConnectionId call = 0;
    SimPrefill prefill;
    LinkId link = 0;
    Stage stage = Stage::kLinking;
    Place place;                         // from Reading on
    std::optional<Grant> memory;         // of the decode worker, from Staging on
    std::optional<Allocation> staging;   // bytes: from Reading to the end
    ConnectionId bytes = 0;              // bytes: the WriteKv call
    std::optional<absl::Status> handed;  // the fence has passed
    int steps_due = 0;                   // it is read within this many steps
    int read = 0;                        // tokens
  };
  // A mapped pool has its link's name; the staging pool is 0.
  static PoolId PoolIdOf(const Prompt& prompt) {
    return prompt.staging.has_value() ? 0 : prompt.link;
  }
  using Prompts = std::map<SequenceId, Prompt>;

  LinkId Reach(const SimPrefill& prefill);
  LinkPeer PeerOf(LinkId link);
  void Up(LinkId link);
  void Down(LinkId link, const absl::Status& why);
  void Verdict(LinkId link, const LeaseKey& key, const std::optional<Grant>& memory);
  void Revoked(LinkId link, const LeaseKey& key);
  void Ended(LinkId link, const LeaseKey& key);
  void Ask(LinkId link, Prompt& prompt);
  void SendEndWrite(LinkId link, const LeaseKey& key, int tokens);
  void Begin(SequenceId id);
  void HandOver(SequenceId id);
  void SendBytes(SequenceId id);
  void Fence(SequenceId id, const absl::Status& status);
  void CloseChannel(Prompt& prompt);
  void Drop(SequenceId id, const absl::Status& status);
  void Reply(const Prompt& prompt, const absl::Status& status);
  Prompts::iterator Find(LinkId link, const LeaseKey& key);

  const Options options_;
  const Ground ground_;
  PrefillScheduler scheduler_;
  PagePool staging_;
  std::map<LinkId, Peer> peers_;
  Prompts prompts_;
  SequenceId next_id_ = 1;
  // Tokens of the schedule that are still to be read.
  int tokens_due_ = 0;
};

}  // namespace tandem
