// SPDX-License-Identifier: Apache-2.0
// World: one router, two prefill and two decode workers and the network between them, driven by
// random events from a seed: requests, cancels, deadlines, steps, messages in any order, time, lost
// connections, processes that die and start again, old and forged messages. After every event what
// must hold is checked. One owner; a run depends on nothing but its seed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "services/runtime/base/clock.h"
#include "tests/sim/network.h"
#include "tests/sim/router_actor.h"

namespace tandem {

// What a run has seen: a run that saw none of something proves nothing about it.
struct Seen {
  Tally requests;
  int events = 0;
  int router_deaths = 0;
  int prefill_deaths = 0;
  int decode_deaths = 0;
  int connections_lost = 0;
  int forgeries = 0;
  int64_t leases_expired = 0;
  int quarantines = 0;  // events after which pages waited for their writer
};

class World {
 public:
  explicit World(uint64_t seed);

  // That many events, then peace: nothing new comes, and all must end and all memory be free. The
  // first fault, with the number of its event.
  absl::Status Run(int events);

  const Seen& seen() const { return seen_; }

 private:
  static constexpr int kWorkers = 2;  // of each kind

  absl::Status Event(bool peace);
  void Work();
  void Trouble();
  void Arrive();
  void KillAny();
  void StartRouter();
  void StartPrefill(int endpoint);
  void StartDecode(int endpoint);
  void Check();
  bool AtRest() const;

  struct Sizes {
    int pages = 0;
    int slots = 0;
    int batch_max = 0;
    int staging_pages = 0;
    int staging_slots = 0;
    int chunk_tokens = 0;
  };

  Random random_;
  const Sizes sizes_;
  ManualClock clock_;
  Network network_{random_};
  Truth truth_;
  const Ground ground_{.random = random_, .clock = clock_, .network = network_, .truth = truth_};
  Seen seen_;
  std::unique_ptr<RouterActor> router_;
  std::array<std::unique_ptr<PrefillActor>, kWorkers> prefills_;
  std::array<std::unique_ptr<DecodeActor>, kWorkers> decodes_;
  ProcessId last_process_ = 0;
  uint64_t last_pool_ = 0;
  RequestUid last_request_ = 0;
};

}  // namespace tandem
