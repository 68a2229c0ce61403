// SPDX-License-Identifier: Apache-2.0
// RouterActor: one start of a router: what Session does with each request, and a client that
// counts: every answer comes token by token, once, and ends as it must.
#pragma once

#include <functional>
#include <map>
#include <optional>

#include "tests/sim/decode_actor.h"
#include "tests/sim/prefill_actor.h"

namespace tandem {

// How the requests of a run ended.
struct Tally {
  int complete = 0;
  int refused = 0;    // no memory
  int cancelled = 0;  // by the client
  int late = 0;       // at their deadline
  int failed = 0;     // a worker or a lease was lost
  int abandoned = 0;  // the router was lost
  int ended() const { return complete + refused + cancelled + late + failed + abandoned; }
};

class RouterActor {
 public:
  struct Options {
    ProcessId process = 0;
    absl::Duration reserve_timeout;
    std::function<DecodeActor&(int)> decode_at;
    std::function<PrefillActor&(int)> prefill_at;
  };
  // `tally` outlives it.
  RouterActor(const Options& options, const Ground& ground, Tally& tally)
      : options_(options), ground_(ground), tally_(tally) {}
  // Nobody hears how its requests end.
  ~RouterActor() { tally_.abandoned += running(); }
  RouterActor(const RouterActor&) = delete;
  RouterActor& operator=(const RouterActor&) = delete;

  ProcessId process() const { return options_.process; }
  int running() const { return static_cast<int>(sessions_.size()); }

  struct Request {
    RequestUid uid = 0;
    int prompt_tokens = 0;
    int max_tokens = 0;
    int32_t stop_token = -1;  // token i of every answer is i
    int prefill = 0;          // endpoints
    int decode = 0;
    absl::Time deadline;
  };
  void Begin(const Request& request);
  // A client goes away.
  void CancelAny();
  // Deadlines and time-outs that have passed.
  void Tick();

 private:
  struct Session {
    Request request;
    // Calls that run; 0 = none.
    ConnectionId reserve = 0;
    ConnectionId prefill = 0;
    ConnectionId generate = 0;
    absl::Time reserve_deadline;
    LeaseKey key;
    bool granted = false;    // to be given back
    int tokens = 0;          // delivered
    int* outcome = nullptr;  // decided, but a grant may be on its way
  };
  Session* Find(RequestUid uid);
  // Ends a call from this side; harmless if it is over.
  void HangUp(ConnectionId& call);
  void OnReserved(RequestUid uid, const absl::StatusOr<Grant>& grant);
  void Prefill(Session& session);
  void PrefillAgain(SimPrefill request);
  void OnPrefilled(RequestUid uid, const absl::Status& status);
  void Generate(Session& session);
  void OnGenerated(RequestUid uid, std::optional<int32_t> token, std::optional<EndReason> reason,
                   const absl::Status& status);
  void CheckComplete(const Session& session, EndReason reason);
  // The first outcome counts. A grant that may be on its way is waited for; then the session is
  // gone.
  void Stop(Session& session, int& outcome);
  void Release(const Session& session);

  const Options options_;
  const Ground ground_;
  Tally& tally_;
  std::map<RequestUid, Session> sessions_;
};

}  // namespace tandem
