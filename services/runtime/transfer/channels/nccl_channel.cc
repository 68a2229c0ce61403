// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/channels/nccl_channel.h"

#include <utility>

namespace tandem {

void NcclChannel::Send(Transfer& transfer, const KvPart& part) {
  const KvStorage& rows = *staging().storage;
  std::vector<KvExtent> extents = rows.layout().Extents(
      {.slot = transfer.memory().slot, .pages = transfer.memory().pages}, part);
  KvTravel travel;
  for (const KvExtent& extent : extents) travel.bytes += extent.bytes;
  // The kernel that packs them still takes each extent on its own: a block copies one.
  KvCursor begin;
  travel.descriptors = TakeRuns(extents, travel.bytes, begin).size();
  transfer.Begin(travel);
  link_.SendPart({.key = transfer.lease().key, .part = part},
                 {.storage = &rows,
                  .extents = std::move(extents),
                  .cancelled = transfer.cancelled(),
                  .done = [&transfer](const absl::Status& status) { transfer.End(status); }});
}

}  // namespace tandem
