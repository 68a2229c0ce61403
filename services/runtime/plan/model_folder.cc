// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/plan/model_folder.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/loader/store/checkpoint.h"
#include "services/runtime/plan/weight_sizes.h"

namespace tandem {

absl::StatusOr<ModelFolder> OpenModelFolder(const std::string& folder) {
  ASSIGN_OR_RETURN(ModelConfig config, ModelConfig::FromFolder(folder));
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(folder));
  ModelFolder out{.config = std::move(config)};
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (!absl::StartsWith(name, "mtp.")) out.bytes += static_cast<int64_t>(tensor.bytes.size());
  }
  const int64_t expected = SizesOf(out.config).checkpoint;
  if (out.bytes == expected) return out;
  return absl::InvalidArgumentError(absl::StrCat(folder, ": the tensors of the model must be ",
                                                 expected, " bytes by config.json, got ",
                                                 out.bytes));
}

}  // namespace tandem
