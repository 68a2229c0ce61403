// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/kv/lease_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

absl::Status Lost(const LeaseKey& key, const char* why) {
  return absl::AbortedError(absl::StrCat("lease ", key.lease_id, " epoch ", key.epoch, ": ", why));
}

}  // namespace

LeaseTable::LeaseTable(const Options& options, PagePool pool)
    : options_(options), pool_(std::move(pool)), next_id_(options.seed) {}

absl::StatusOr<Grant> LeaseTable::GrantLease(int64_t tokens, absl::Time now) {
  CHECK_GT(tokens, 0);
  const int pages = static_cast<int>((tokens + options_.page_tokens - 1) / options_.page_tokens);
  ASSIGN_OR_RETURN(Allocation memory, pool_.Allocate(pages));
  // An odd step visits every 64-bit id once before it repeats.
  next_id_ += 0x9E3779B97F4A7C15;
  const LeaseKey key{.incarnation = options_.incarnation, .lease_id = next_id_, .epoch = ++epoch_};
  Grant grant{.key = key, .slot = memory.slot, .pages = memory.pages};
  leases_.emplace(key.lease_id, Lease{.key = key,
                                      .memory = std::move(memory),
                                      .state = Granted{.expiry = now + options_.ttl}});
  return grant;
}

absl::StatusOr<const LeaseTable::Lease*> LeaseTable::Find(const LeaseKey& key) const {
  const auto it = leases_.find(key.lease_id);
  if (it == leases_.end() || it->second.key != key)
    return Lost(key, "is over or of another process");
  return &it->second;
}

absl::StatusOr<LeaseTable::Lease*> LeaseTable::Find(const LeaseKey& key) {
  ASSIGN_OR_RETURN(const Lease* lease, std::as_const(*this).Find(key));
  return const_cast<Lease*>(lease);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
}

Grant LeaseTable::GrantOf(const Lease& lease) {
  return {.key = lease.key, .slot = lease.memory.slot, .pages = lease.memory.pages};
}

absl::StatusOr<Grant> LeaseTable::BeginWrite(const LeaseKey& key, LinkId link, bool in_place) {
  ASSIGN_OR_RETURN(Lease * lease, Find(key));
  if (!std::holds_alternative<Granted>(lease->state)) return Lost(key, "was already written to");
  lease->state = Writing{.link = link, .in_place = in_place};
  return GrantOf(*lease);
}

absl::Status LeaseTable::EndWrite(const LeaseKey& key, const Filling& filling, absl::Time now) {
  ASSIGN_OR_RETURN(Lease * lease, Find(key));
  const LinkId link = filling.link;
  if (const auto* writing = std::get_if<Writing>(&lease->state); writing && writing->link == link) {
    lease->state = Filled{.expiry = now + options_.ttl, .tokens = filling.tokens};
    return absl::OkStatus();
  }
  if (const auto* held = std::get_if<Quarantined>(&lease->state); held && held->link == link) {
    Free(leases_.find(key.lease_id));
    return Lost(key, "ended while it was written to");
  }
  return Lost(key, "is not being written to by this link");
}

absl::StatusOr<Grant> LeaseTable::Commit(const LeaseKey& key, int64_t tokens) {
  ASSIGN_OR_RETURN(Lease * lease, Find(key));
  const auto* filled = std::get_if<Filled>(&lease->state);
  if (filled == nullptr) return Lost(key, "has no finished prefill");
  if (filled->tokens != tokens) {
    const int64_t in_place = filled->tokens;
    Free(leases_.find(key.lease_id));
    return absl::InvalidArgumentError(
        absl::StrCat("as many as prefill has read, ", in_place, ", got ", tokens));
  }
  lease->state = Committed{};
  return GrantOf(*lease);
}

absl::StatusOr<Grant> LeaseTable::WritableByBytes(const LeaseKey& key) const {
  ASSIGN_OR_RETURN(const Lease* lease, Find(key));
  const auto* writing = std::get_if<Writing>(&lease->state);
  if (writing == nullptr || writing->in_place) return Lost(key, "is not being written to as bytes");
  return GrantOf(*lease);
}

absl::StatusOr<Grant> LeaseTable::WritableByLink(const LeaseKey& key, LinkId link) const {
  ASSIGN_OR_RETURN(const Lease* lease, Find(key));
  const auto* writing = std::get_if<Writing>(&lease->state);
  if (writing == nullptr || !writing->in_place || writing->link != link)
    return Lost(key, "is not being written to by this link");
  return GrantOf(*lease);
}

void LeaseTable::Finish(const LeaseKey& key) {
  const auto it = leases_.find(key.lease_id);
  CHECK(it != leases_.end() && std::holds_alternative<Committed>(it->second.state));
  Free(it);
}

LeaseTable::Leases::iterator LeaseTable::Free(Leases::iterator lease) {
  pool_.Free(std::move(lease->second.memory));
  return leases_.erase(lease);
}

LeaseTable::Leases::iterator LeaseTable::End(Leases::iterator lease,
                                             std::vector<Revocation>& revoked) {
  const auto* writing = std::get_if<Writing>(&lease->second.state);
  if (writing == nullptr) return Free(lease);
  const bool in_place = writing->in_place;
  const LinkId link = writing->link;
  revoked.push_back({.link = link, .key = lease->second.key});
  if (!in_place) return Free(lease);
  lease->second.state = Quarantined{.link = link};
  return std::next(lease);
}

std::vector<Revocation> LeaseTable::Release(const LeaseKey& key) {
  std::vector<Revocation> revoked;
  const auto it = leases_.find(key.lease_id);
  if (it == leases_.end() || it->second.key != key) return revoked;
  const State& state = it->second.state;
  if (std::holds_alternative<Committed>(state) || std::holds_alternative<Quarantined>(state))
    return revoked;
  End(it, revoked);
  return revoked;
}

std::vector<LeaseKey> LeaseTable::Expire(absl::Time now) {
  std::vector<LeaseKey> expired;
  const auto due = [now](const auto& state) {
    if constexpr (requires { state.expiry; }) return state.expiry <= now;
    return false;
  };
  for (auto it = leases_.begin(); it != leases_.end();) {
    if (std::visit(due, it->second.state)) {
      expired.push_back(it->second.key);
      it = Free(it);
    } else {
      ++it;
    }
  }
  return expired;
}

void LeaseTable::LinkLost(LinkId link) {
  for (auto it = leases_.begin(); it != leases_.end();) {
    const auto* writing = std::get_if<Writing>(&it->second.state);
    if (writing == nullptr || writing->link != link) {
      ++it;
      continue;
    }
    std::vector<Revocation> nobody_to_tell;
    it = End(it, nobody_to_tell);
  }
}

void LeaseTable::LinkDead(LinkId link) {
  LinkLost(link);
  for (auto it = leases_.begin(); it != leases_.end();) {
    const auto* held = std::get_if<Quarantined>(&it->second.state);
    it = held != nullptr && held->link == link ? Free(it) : std::next(it);
  }
}

LeaseTable::Counts LeaseTable::counts() const {
  Counts out;
  for (const auto& [id, lease] : leases_) {
    const int pages = static_cast<int>(lease.memory.pages.size());
    out.pages_held += pages;
    const auto add = [pages](int& leases, int& of_pages) {
      ++leases;
      of_pages += pages;
    };
    if (std::holds_alternative<Granted>(lease.state)) add(out.granted, out.pages_leased_out);
    if (std::holds_alternative<Writing>(lease.state)) add(out.writing, out.pages_writing);
    if (std::holds_alternative<Filled>(lease.state)) add(out.filled, out.pages_leased_out);
    if (std::holds_alternative<Committed>(lease.state)) add(out.committed, out.pages_committed);
    if (std::holds_alternative<Quarantined>(lease.state)) {
      add(out.quarantined, out.pages_quarantined);
    }
  }
  return out;
}

}  // namespace tandem
