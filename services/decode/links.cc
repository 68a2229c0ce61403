// SPDX-License-Identifier: Apache-2.0
#include "services/decode/links.h"

#include <algorithm>
#include <utility>

#include "services/runtime/base/check.h"
#include "services/runtime/base/log.h"
#include "services/runtime/transfer/wire.h"

namespace tandem {
namespace {

// A driver ends what a process had queued within some 100 ms of its last breath.
constexpr absl::Duration kTeardown = absl::Seconds(2);

}  // namespace

void Links::Stop() {
  for (Closed& closed : closed_) closed.dispose();
  closed_.clear();
}

void Links::Open(const LinkOpenedCommand& command) {
  open_[command.link] = {
      .kind = command.kind, .nccl = command.nccl, .receiving = {}, .send = command.send};
}

void Links::Joined(const LinkJoinedCommand& command) {
  const auto it = open_.find(command.link);
  if (it != open_.end()) it->second.kind = v1::KV_CHANNEL_KIND_NCCL;
}

void Links::Close(LinkClosedCommand command) {
  const auto it = open_.find(command.link);
  if (it == open_.end()) return command.dispose();
  LogInfo("link-lost", {{"link", command.link}});
  NcclEnd* const nccl = it->second.nccl;
  if (nccl != nullptr) nccl->Abort();
  // Without a mapping and a communicator nobody can write any more: dead at once, as TakeDead
  // finds.
  if (nccl == nullptr) std::exchange(command.dispose, [] {})();
  const v1::KvChannelKind kind = it->second.kind;
  closed_.push_back(
      {.link = command.link,
       .nccl = nccl,
       .dispose = std::move(command.dispose),
       .mapped = kind == v1::KV_CHANNEL_KIND_SHARED || kind == v1::KV_CHANNEL_KIND_IPC});
  open_.erase(it);
}

bool Links::InPlace(LinkId link) const {
  const auto it = open_.find(link);
  return it != open_.end() && it->second.kind != v1::KV_CHANNEL_KIND_GRPC;
}

bool Links::Receive(const LinkPartCommand& command, const Grant& memory, const KvStorage& storage,
                    std::function<void()> here) {
  const KvPart& part = command.part.part;
  const int64_t room = static_cast<int64_t>(memory.pages.size()) * kPageTokens;
  if (part.tokens < 1 || part.tokens > room) return false;
  if (part.first_page < 0 || part.first_page > KvLayout::PagesFor(part.tokens)) return false;
  const auto it = open_.find(command.link);
  if (it == open_.end() || it->second.kind != v1::KV_CHANNEL_KIND_NCCL) return false;
  ++it->second.receiving[memory.key.lease_id].orders;
  it->second.nccl->Do(
      {.storage = &storage,
       .extents = storage.layout().Extents({.slot = memory.slot, .pages = memory.pages}, part),
       .done = [here = std::move(here)](const absl::Status& status) {
         if (status.ok()) here();
       }});
  return true;
}

std::optional<LinkEndCommand> Links::Received(const LinkPartDoneCommand& command) {
  const auto it = open_.find(command.link);
  if (it == open_.end()) return std::nullopt;
  const auto receiving = it->second.receiving.find(command.key.lease_id);
  CHECK(receiving != it->second.receiving.end());
  if (--receiving->second.orders > 0) return std::nullopt;
  const std::optional<LinkEndCommand> end = receiving->second.end;
  it->second.receiving.erase(receiving);
  return end;
}

bool Links::Defer(const LinkEndCommand& command) {
  const auto it = open_.find(command.link);
  if (it == open_.end()) return false;
  const auto receiving = it->second.receiving.find(command.key.lease_id);
  if (receiving == it->second.receiving.end()) return false;
  receiving->second.end = command;
  return true;
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
    LogInfo("lease-revoked", {{"lease", revocation.key.lease_id}, {"link", revocation.link}});
    v1::LinkResponse response;
    *response.mutable_revoke() = ToProto(revocation.key);
    Send(revocation.link, std::move(response));
  }
}

bool Links::MayWrite(Closed& closed, absl::Time now) const {
  if (closed.nccl != nullptr && !closed.nccl->Ended()) return true;
  if (shared_ == nullptr) return false;
  if (shared_->MapperAlive(closed.link)) return true;
  closed.unmapped = std::min(closed.unmapped, now);
  return on_gpu_ && closed.mapped && now < closed.unmapped + kTeardown;
}

std::vector<LinkId> Links::TakeDead(absl::Time now) {
  std::vector<LinkId> dead;
  std::erase_if(closed_, [&](Closed& closed) {
    if (MayWrite(closed, now)) return false;
    closed.dispose();
    dead.push_back(closed.link);
    return true;
  });
  return dead;
}

}  // namespace tandem
