// SPDX-License-Identifier: Apache-2.0
#include "services/prefill/peers.h"

#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/runtime/base/log.h"
#include "services/runtime/transfer/channels/ipc_channel.h"
#include "services/runtime/transfer/channels/nccl_channel.h"
#include "services/runtime/transfer/channels/shared_channel.h"
#include "services/runtime/transfer/wire.h"

namespace tandem {

bool Peers::Allowed(absl::string_view endpoint) const {
  if (options_.allowed.empty()) return true;
  return absl::c_any_of(options_.allowed, [endpoint](absl::string_view pattern) {
    if (!absl::ConsumeSuffix(&pattern, "*")) return endpoint == pattern;
    absl::string_view port = endpoint;
    // A list of addresses, or a scheme, is no port.
    return absl::ConsumePrefix(&port, pattern) && !port.empty() &&
           absl::c_all_of(port, absl::ascii_isdigit);
  });
}

Peer& Peers::Reach(const std::string& endpoint, uint64_t incarnation, absl::Time now) {
  for (auto& [serial, peer] : peers_) {
    if (peer.endpoint == endpoint && peer.incarnation == incarnation) return peer;
  }
  const LinkSerial serial = next_serial_++;
  Peer& peer = peers_[serial];
  peer.serial = serial;
  peer.endpoint = endpoint;
  peer.incarnation = incarnation;
  peer.opened = now;
  peer.connection = std::make_unique<Channel>(ChannelOptions{.endpoint = endpoint,
                                                             .credentials = options_.credentials,
                                                             .server_name = options_.server_name});
  peer.stub = peer.connection->NewStub<v1::DecodeService>();
  peer.link = LinkClient::Open(*peer.stub, {.serial = serial,
                                            .incarnation = options_.incarnation,
                                            .peer_incarnation = incarnation,
                                            .kv_format = options_.kv_format,
                                            .preferred = options_.preferred,
                                            .strict = options_.strict,
                                            .limit = options_.link_timeout,
                                            .config = options_.config,
                                            .backends = staging_.storage->backends(),
                                            .nccl = options_.nccl,
                                            .post = options_.post});
  return peer;
}

Peer* Peers::Find(LinkSerial serial) {
  const auto it = peers_.find(serial);
  return it == peers_.end() ? nullptr : &it->second;
}

Peer* Peers::FindKept(LinkSerial serial) {
  const auto it = forgotten_.find(serial);
  return it == forgotten_.end() ? Find(serial) : &it->second;
}

void Peers::Up(Peer& peer, LinkUp up) {
  if (up.kind == v1::KV_CHANNEL_KIND_SHARED) {
    // The pool's name is the link's: a mapped pool belongs to one link.
    peer.channel = std::make_unique<SharedChannel>(staging_.id + peer.serial, std::move(up.mapped));
  } else if (up.kind == v1::KV_CHANNEL_KIND_IPC) {
    if (copier_ == nullptr)
      copier_ = std::make_unique<KvCopier>(staging_.storage->backends(), options_.link_timeout);
    peer.channel = std::make_unique<IpcChannel>(staging_, *copier_, std::move(up.mapped));
  } else if (up.kind == v1::KV_CHANNEL_KIND_NCCL) {
    peer.channel = std::make_unique<NcclChannel>(staging_, *peer.link);
  } else {
    peer.channel = std::make_unique<GrpcChannel>(staging_, *peer.stub, up.data_runs_on);
  }
  const char* const kind = NameOf(peer.channel->kind());
  using State = PrefillMetrics::Link::State;
  const bool slower = !up.downgrade_reason.empty();
  metrics_.SetLink({.peer = peer.endpoint,
                    .transport = kind,
                    .state = slower ? State::kDowngraded : State::kStands});
  if (!slower) {
    LogInfo("link-up", {{"peer", peer.endpoint}, {"kind", kind}});
  } else {
    metrics_.CountDowngrade(kind);
    LogWarning("link-downgraded",
               {{"peer", peer.endpoint}, {"kind", kind}, {"why", up.downgrade_reason}});
  }
}

void Peers::GiveUp(Peer& peer, const LeaseKey& key) {
  peer.given_up.push_back(key);
  TendLeases(peer);
}

void Peers::TendLeases(Peer& peer) {
  peer.channel->Tend();
  std::erase_if(peer.given_up, [&peer](const LeaseKey& key) {
    if (peer.channel->MayWrite(key)) return false;
    peer.link->EndWrite(key, 0);
    return true;
  });
}

void Peers::Forget(LinkSerial serial) {
  const auto it = peers_.find(serial);
  if (it == peers_.end()) return;
  metrics_.SetLink({.peer = it->second.endpoint, .transport = "", .state = {}});
  it->second.link->Cancel();
  forgotten_.insert(peers_.extract(it));
}

std::vector<LinkEvent> Peers::Tend(absl::Time now, bool step_runs) {
  std::vector<LinkEvent> late;
  for (auto& [serial, peer] : peers_) {
    if (peer.channel != nullptr) {
      TendLeases(peer);
    } else if (now - peer.opened > options_.link_timeout) {
      LinkEvent& event = late.emplace_back();
      event.link = serial;
      event.what.emplace<LinkDown>().why = absl::DeadlineExceededError(
          absl::StrCat("not up within ", absl::FormatDuration(options_.link_timeout)));
    }
  }
  std::erase_if(forgotten_, [step_runs](const auto& entry) {
    const auto& [serial, peer] = entry;
    if (peer.channel != nullptr) peer.channel->Tend();
    return !step_runs && peer.link->Ended() &&
           (peer.channel == nullptr || !peer.channel->Closing());
  });
  return late;
}

void Peers::ShowLinks() const {
  metrics_.engine.SetLinks([this](v1::KvChannelKind kind) {
    return absl::c_count_if(peers_, [kind](const auto& entry) {
      return entry.second.channel != nullptr && entry.second.channel->kind() == kind;
    });
  });
}

}  // namespace tandem
