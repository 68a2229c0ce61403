// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/offered_pool.h"

#include <algorithm>
#include <utility>

#include "services/runtime/base/status_macros.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<KvStorage>> MapOffer(const v1::LinkOffer& offer,
                                                    const ModelConfig& config,
                                                    KvStorage::Backends backends) {
  if (offer.shm_name().empty())
    return absl::NotFoundError("the decode worker offers no shared memory");
  ASSIGN_OR_RETURN(const KvLayout layout,
                   KvLayout::Create(config, {.pages = static_cast<int>(offer.pages()),
                                             .slots = static_cast<int>(offer.slots())}));
  const KvStorage::Offer offered = {
      .name = offer.shm_name(),
      .copies = std::max(static_cast<int>(offer.copies()), 1),
      .gpu_memory = {offer.gpu_memory().begin(), offer.gpu_memory().end()},
      .mapper_id = offer.link_id()};
  if (offer.pool_offset() != KvStorage::kPoolOffset ||
      offer.shm_bytes() != KvStorage::ObjectBytes(layout, offered) ||
      offer.test_offset() != KvStorage::TestOffset(offer.link_id())) {
    return absl::FailedPreconditionError("the offered pool has other sizes than its layout");
  }
  ASSIGN_OR_RETURN(std::unique_ptr<KvStorage> mapped,
                   KvStorage::OpenShared(layout, offered, backends));
  if (mapped->ReadTest(offer.link_id()) != offer.test_pattern()) {
    return absl::DataLossError(
        "self-test: the mapped memory does not hold the decode worker's pattern");
  }
  mapped->WriteTest(offer.link_id(), Inverted(offer.test_pattern()));
  return mapped;
}

}  // namespace tandem
