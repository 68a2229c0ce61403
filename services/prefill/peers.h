// SPDX-License-Identifier: Apache-2.0
// Peers: the decode workers that this prefill worker has links to, by endpoint and incarnation. Not
// thread-safe.
//
// A link is opened at the first request that names its decode worker and kept. One that breaks, is
// refused or does not stand in time is forgotten: the next request opens a new one. Nobody waits
// for what a forgotten one has begun; its memory stays until that is over. What a GPU does not do
// within `link_timeout` ends the process.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/runtime/metrics/worker_metrics.h"
#include "services/runtime/model/config/model_config.h"
#include "services/runtime/rpc/channel.h"
#include "services/runtime/transfer/channels/grpc_channel.h"
#include "services/runtime/transfer/channels/kv_copier.h"
#include "services/runtime/transfer/kv_channel.h"
#include "services/runtime/transfer/link_client.h"

namespace tandem {

// One decode worker, reached over one link.
struct Peer {
  LinkSerial serial = 0;
  std::string endpoint;
  uint64_t incarnation = 0;
  absl::Time opened;
  std::unique_ptr<Channel> connection;
  std::unique_ptr<v1::DecodeService::Stub> stub;
  std::unique_ptr<KvChannel> channel;  // null until the link stands
  std::vector<LeaseKey> given_up;      // that may still be written to: it is not told of them yet
  std::unique_ptr<LinkClient> link;    // destroyed first: it posts nothing after that
};

class Peers {
 public:
  struct Options {
    uint64_t incarnation = 0;  // of this process
    v1::KvFormat kv_format;
    v1::KvChannelKind preferred = v1::KV_CHANNEL_KIND_SHARED;
    bool strict = false;
    absl::Duration link_timeout = absl::Seconds(5);
    // host:port, or host:* for any port of a host. Empty = every endpoint.
    std::vector<std::string> allowed;
    const ModelConfig* config = nullptr;       // borrowed
    ChannelCredentials credentials = nullptr;  // null = plain text
    std::string server_name;                   // as in ChannelOptions
    NcclUse nccl;
    std::function<void(LinkEvent)> post;
  };
  // Borrows both.
  Peers(const Options& options, StagingPool& staging, PrefillMetrics& metrics)
      : options_(options), staging_(staging), metrics_(metrics) {}

  // Whether Options.allowed has the endpoint.
  bool Allowed(absl::string_view endpoint) const;

  // The peer of that name; opened if need be. An older incarnation at the endpoint is left to its
  // own end.
  Peer& Reach(const std::string& endpoint, uint64_t incarnation, absl::Time now);

  // One that stands or comes up; null once it is forgotten.
  Peer* Find(LinkSerial serial);
  // Also one that is forgotten and whose memory is still here.
  Peer* FindKept(LinkSerial serial);

  // The link stands: the peer gets its channel.
  void Up(Peer& peer, LinkUp up);

  // A lease that was closed has no rows: the decode worker is told so once nothing is written to it
  // any more.
  void GiveUp(Peer& peer, const LeaseKey& key);

  void Forget(LinkSerial serial);

  // Now and then: gives back what closed leases and forgotten links have had to keep; while a step
  // runs, which may write to their pools, all forgotten ones stay. Returns the ends of links that
  // have not come to stand in time.
  std::vector<LinkEvent> Tend(absl::Time now, bool step_runs = false);

  // The number of standing links, by kind, in the metrics.
  void ShowLinks() const;

 private:
  static void TendLeases(Peer& peer);

  const Options options_;
  StagingPool& staging_;
  PrefillMetrics& metrics_;
  std::unique_ptr<KvCopier> copier_;  // from the first link on that needs it
  std::map<LinkSerial, Peer> peers_;
  std::map<LinkSerial, Peer> forgotten_;
  LinkSerial next_serial_ = 1;
};

}  // namespace tandem
