// SPDX-License-Identifier: Apache-2.0
// The pool that a decode worker offers on a link.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "services/runtime/kv/kv_storage.h"
#include "services/runtime/model/config/model_config.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

// Maps it, reads its test pattern and writes the answer, for the decode worker to look for:
// NOT_FOUND if it offers none, DATA_LOSS if this is other memory. It runs as long as the driver of
// a GPU likes.
absl::StatusOr<std::unique_ptr<KvStorage>> MapOffer(const v1::LinkOffer& offer,
                                                    const ModelConfig& config,
                                                    KvStorage::Backends backends);

}  // namespace tandem
