// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/channels/shared_channel.h"

#include "absl/strings/str_cat.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {

absl::Status CheckGrant(const KvLayout& layout, const Grant& lease, int tokens) {
  bool inside = lease.slot >= 0 && lease.slot < layout.slots() &&
                static_cast<int>(lease.pages.size()) >= KvLayout::PagesFor(tokens);
  for (const int page : lease.pages) inside = inside && page >= 0 && page < layout.pages();
  if (inside) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "reservation: slot ", lease.slot, " with ", lease.pages.size(), " pages does not hold ",
      tokens, " tokens in a pool of ", layout.slots(), " slots and ", layout.pages(), " pages"));
}

absl::StatusOr<KvPlace> SharedChannel::Open(const Grant& lease, int tokens) {
  RETURN_IF_ERROR(CheckGrant(mapped_->layout(), lease, tokens));
  return KvPlace{.pool = pool_, .view = mapped_->view(), .slot = lease.slot, .pages = lease.pages};
}

void SharedChannel::Write(const LeaseKey& /*key*/, int /*tokens*/) {}

void SharedChannel::Fence(const LeaseKey& /*key*/, std::function<void(absl::Status)> done) {
  // Nothing to wait for: the rows were stored before, and sending the message that says so orders
  // them before it.
  done(absl::OkStatus());
}

void SharedChannel::Close(const LeaseKey& /*key*/) {}

}  // namespace tandem
