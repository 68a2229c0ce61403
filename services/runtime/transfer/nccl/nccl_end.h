// SPDX-License-Identifier: Apache-2.0
// NcclEnd: this process's end of a link's communicator: joins it, proves with data that it works,
// then sends or receives one order after another.
//
// A thread of its own does all of it; nothing else waits for NCCL. Every wait has the limit of the
// options. The communicator has the senders as its first ranks and the receivers behind them;
// receiver i hears from sender i mod senders. What both ends are ordered must be equal in order and
// size. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/runtime/base/bounded_queue.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/kv/kv_storage.h"
#include "services/runtime/transfer/nccl/nccl_port.h"

namespace tandem {

class NcclEnd {
 public:
  struct Options {
    NcclPort* port = nullptr;  // borrowed
    bool sends = false;
    int senders = 1;
    int receivers = 1;
    std::string id;       // of the communicator; a sender makes one
    std::string pattern;  // KvStorage::kTestCellBytes for each receiver: sent, or expected
    absl::Duration limit = absl::Seconds(4);
    // All come from the thread and may not block; none after the destructor. A sender: the id, or
    // why there is none, then `joined`.
    std::function<void(absl::StatusOr<std::string>)> named;
    // Once: the pattern has gone, or has come, and it was right.
    std::function<void(absl::Status)> joined;
    // At most once, after `joined` said OK: nothing will ever go over this end again.
    std::function<void(absl::Status)> lost;
  };
  explicit NcclEnd(Options options);
  ~NcclEnd();  // as Abort, and waits for the thread
  NcclEnd(const NcclEnd&) = delete;
  NcclEnd& operator=(const NcclEnd&) = delete;

  struct Order {
    const KvStorage* storage = nullptr;  // of the port's ranks; the extents are in it
    std::vector<KvExtent> extents;
    // A sender's, may be null; set: send what there is, nobody will read it. Outlives the order.
    const std::atomic<bool>* cancelled = nullptr;
    // Once: all of it has left, or arrived; or never will, and nothing of it is touched any more.
    std::function<void(absl::Status)> done;
  };
  void Do(Order order);

  // Ends the communicator, and every order with it. Does not wait.
  void Abort();
  // No GPU works on an order of this end any more, and none ever will.
  bool Ended() const { return ended_; }
  // The thread has nothing more to do: the destructor does not wait.
  bool Over() const { return over_; }

 private:
  void Run();
  absl::Status Join();
  absl::Status Test();
  absl::Status Execute(const Order& order);
  struct Piece {
    size_t lane = 0;
    void* memory = nullptr;
    int64_t bytes = 0;
    int peer = 0;
  };
  // Queues the pieces, all or none.
  absl::Status Queue(const std::vector<Piece>& pieces);
  std::vector<Piece> PiecesOf(int64_t bytes) const;
  absl::Status AwaitQueued();
  absl::Status AwaitRun();
  absl::Status Await(const std::function<absl::StatusOr<bool>()>& done);
  // False: something still runs.
  bool Leave();

  const Options options_;
  std::vector<NcclPort::Lane> lanes_;
  std::vector<Nccl::Comm> comms_;  // a lane's each
  BoundedQueue<Order> orders_{1};  // its producers have one order a chunk of a prompt
  std::atomic<bool> aborted_ = false;
  std::atomic<bool> ended_ = false;
  std::atomic<bool> over_ = false;
  Thread thread_;  // last: it uses all of the above
};

}  // namespace tandem
