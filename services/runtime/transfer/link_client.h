// SPDX-License-Identifier: Apache-2.0
// LinkClient: a prefill worker's side of the Link stream to one decode worker.
//
// Open starts the negotiation and returns at once: hello, offer, self-test, choice, ready
// (proto/README.md draws it). What happens then is posted as LinkEvents from gRPC's threads: LinkUp
// or LinkDown first, LinkDown last. `post` must not block. A decode worker that says more than it
// was asked ends the link, so events that wait are bounded by leases that are begun. With kind NCCL
// the link's communicator is this client's: whichever of the two ends, ends the other. All but Open
// may be called from any thread. The destructor cancels the stream and waits for its end. A
// self-test that still runs `limit` after the stream was cancelled hangs in a GPU's driver: it ends
// the process, with one line, as soon as Ended or the destructor looks.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "services/runtime/kv/kv_storage.h"
#include "services/runtime/model/config/model_config.h"
#include "services/runtime/transfer/link_event.h"
#include "services/runtime/transfer/nccl/nccl_end.h"
#include "services/runtime/transfer/wire.h"
#include "tandem/v1/worker.grpc.pb.h"

namespace tandem {

// Whether kind NCCL can be chosen.
struct NcclUse {
  NcclPort* port = nullptr;  // borrowed; null: it cannot
  std::string why_not = "it is not used here";
  // For the other side to join, and for each message. Shorter than the link's own time, so that
  // another kind can take its place.
  absl::Duration limit = absl::Seconds(3.75);
};

class LinkClient {
 public:
  struct Options {
    LinkSerial serial = 0;
    uint64_t incarnation = 0;       // of this process
    uint64_t peer_incarnation = 0;  // of the decode worker that is meant
    v1::KvFormat kv_format;
    v1::KvChannelKind preferred = v1::KV_CHANNEL_KIND_SHARED;
    bool strict = false;  // a downgrade is an error
    absl::Duration limit = absl::Seconds(5);
    const ModelConfig* config = nullptr;                 // borrowed
    KvStorage::Backends backends = KvStorage::OnHost();  // where prompts are computed; borrowed
    NcclUse nccl;
    std::function<void(LinkEvent)> post;
  };
  // `stub` outlives the client.
  static std::unique_ptr<LinkClient> Open(v1::DecodeService::StubInterface& stub, Options options);

  ~LinkClient();
  LinkClient(const LinkClient&) = delete;
  LinkClient& operator=(const LinkClient&) = delete;

  void BeginWrite(const LeaseKey& key);
  // `tokens`: how many have their rows in place; 0 = given up.
  void EndWrite(const LeaseKey& key, int tokens);
  // Kind NCCL: asks the decode worker to receive the part, then sends the order's rows. Called in
  // one thread at a time. `done` comes with an error if it refuses.
  void SendPart(const LinkPart& part, NcclEnd::Order order);
  // Parts of the lease that have no answer yet are done now; nobody reads their rows.
  void GiveUpParts(const LeaseKey& key);
  // Cancels the stream; does not wait.
  void Cancel();
  // Whether it is over, and the communicator with it: then the destructor does not wait.
  bool Ended() const;

 private:
  class Reactor;
  explicit LinkClient(std::unique_ptr<Reactor> reactor);
  std::unique_ptr<Reactor> reactor_;
};

}  // namespace tandem
