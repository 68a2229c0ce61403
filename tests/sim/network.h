// SPDX-License-Identifier: Apache-2.0
// Network: what is on its way between simulated processes. A connection has two pipes, each first
// in, first out; two pipes have no order among each other. A message is a closure that runs at its
// receiver; it never runs after the receiver was killed. One owner, no thread, no clock.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>

#include "tests/sim/random.h"

namespace tandem {

// Names one start of a process.
using ProcessId = int;
using ConnectionId = uint32_t;

enum class Side { kClient, kServer };

struct Party {
  ProcessId process = 0;
  // Runs at this end once the other one hung up or is gone.
  std::function<void(ConnectionId)> on_lost;
};

class Network {
 public:
  explicit Network(Random& random) : random_(random) {}

  // Ids rise and are never 0. To a process that was killed: lost at once.
  ConnectionId Connect(Party client, Party server);

  // Dropped if an end is gone.
  void Send(ConnectionId id, Side to, std::function<void()> what);

  // `by` hears no more of it; the other end is told after what was sent before.
  void HangUp(ConnectionId id, Side by);

  // The connection is lost with some of what is on its way; both ends are told.
  void Break(ConnectionId id);
  // One of those that stand; 0 if there is none.
  ConnectionId AnyStanding() const;

  // The process hears nothing more; the others find out connection by connection.
  void Kill(ProcessId process);

  // Delivers the oldest message of a pipe chosen at random. False: nothing is on its way.
  bool Deliver();

 private:
  // One end, and what is on its way to it.
  struct Receiver {
    Party party;
    std::deque<std::function<void()>> messages;
    bool open = true;  // takes more
  };
  struct Connection {
    Receiver client;
    Receiver server;
  };
  // It learns that the other end is gone, after the first `kept` messages.
  static void Lose(ConnectionId id, Receiver& receiver, size_t kept);
  // It is gone itself.
  static void Shut(Receiver& receiver);

  Random& random_;
  std::map<ConnectionId, Connection> connections_;
  std::set<ProcessId> dead_;
  ConnectionId last_id_ = 0;
};

}  // namespace tandem
