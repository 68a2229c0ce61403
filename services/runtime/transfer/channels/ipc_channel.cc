// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/channels/ipc_channel.h"

#include <utility>
#include <vector>

#include "services/runtime/base/status_macros.h"
#include "services/runtime/transfer/channels/shared_channel.h"

namespace tandem {

IpcChannel::IpcChannel(StagingPool& staging, KvCopier& copier, std::unique_ptr<KvStorage> mapped)
    : StagedChannel(staging), copier_(copier), mapped_(std::move(mapped)) {}

IpcChannel::~IpcChannel() {
  CloseAll();
}

absl::StatusOr<KvPlace> IpcChannel::Open(const Grant& lease, int tokens) {
  RETURN_IF_ERROR(CheckGrant(mapped_->layout(), lease, tokens));
  return StagedChannel::Open(lease, tokens);
}

void IpcChannel::Send(Transfer& transfer, const KvPart& part) {
  const KvStorage& rows = *staging().storage;
  const KvRoute route{
      .from = &rows.layout(),
      .from_place = {.slot = transfer.memory().slot, .pages = transfer.memory().pages},
      .to = &mapped_->layout(),
      .to_place = {.slot = transfer.lease().slot, .pages = transfer.lease().pages}};
  std::vector<KvCopy> copies = CopiesOf(route, part);
  const size_t ranks = rows.backends().size();
  KvTravel travel{.descriptors = copies.size() * ranks};
  for (const KvCopy& copy : copies) travel.bytes += copy.bytes * ranks;
  transfer.Begin(travel);
  copier_.Copy({.from = &rows,
                .to = mapped_.get(),
                .copies = std::move(copies),
                .cancelled = transfer.cancelled(),
                .done = [&transfer](const absl::Status& status) { transfer.End(status); }});
}

}  // namespace tandem
