// SPDX-License-Identifier: Apache-2.0
#include "services/decode/links.h"

#include <algorithm>
#include <utility>

#include "services/runtime/transfer/wire.h"

namespace tandem {

void Links::Open(const LinkOpenedCommand& command) {
  open_[command.link] = {.kind = command.kind, .send = command.send};
}

void Links::Close(LinkId link) {
  const auto it = open_.find(link);
  if (it == open_.end()) return;
  // Without a mapping nobody can write any more: dead at once, as TakeDead finds.
  closed_.push_back(link);
  open_.erase(it);
}

bool Links::InPlace(LinkId link) const {
  const auto it = open_.find(link);
  return it != open_.end() && it->second.kind != v1::KV_CHANNEL_KIND_GRPC;
}

int Links::Count(v1::KvChannelKind kind) const {
  return static_cast<int>(std::count_if(
      open_.begin(), open_.end(), [&](const auto& entry) { return entry.second.kind == kind; }));
}

void Links::Send(LinkId link, v1::LinkResponse response) const {
  const auto it = open_.find(link);
  if (it != open_.end()) it->second.send(std::move(response));
}

void Links::SendRevocations(const std::vector<Revocation>& revocations) const {
  for (const Revocation& revocation : revocations) {
    v1::LinkResponse response;
    *response.mutable_revoke() = ToProto(revocation.key);
    Send(revocation.link, std::move(response));
  }
}

std::vector<LinkId> Links::TakeDead() {
  std::vector<LinkId> dead;
  std::erase_if(closed_, [&](LinkId link) {
    if (shared_ != nullptr && shared_->MapperAlive(link)) return false;
    dead.push_back(link);
    return true;
  });
  return dead;
}

}  // namespace tandem
