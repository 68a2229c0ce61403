// SPDX-License-Identifier: Apache-2.0
// A checkpoint folder, looked at without loading it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "services/runtime/model/config/model_config.h"

namespace tandem {

struct ModelFolder {
  ModelConfig config;
  int64_t bytes = 0;  // of the tensors that a worker loads
};

// Reads config.json, the index, and every shard's table of tensors; maps the rest. NOT_FOUND or
// INVALID_ARGUMENT if something is missing, damaged or of another model; INVALID_ARGUMENT with both
// sizes if the tensors, without those of the drafter, are not as large as the config says.
absl::StatusOr<ModelFolder> OpenModelFolder(const std::string& folder);

}  // namespace tandem
