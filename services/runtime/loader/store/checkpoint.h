// SPDX-License-Identifier: Apache-2.0
// Checkpoint: a folder of safetensors shards as one map from tensor name to bytes.
//
// With model.safetensors.index.json, the shards it names and exactly the tensors it names; without,
// the one file model.safetensors. Nothing outside the folder is opened. Bytes are mapped, not read;
// views live as long as the checkpoint. Movable, thread-safe once open. Errors: NOT_FOUND, or
// INVALID_ARGUMENT naming file, tensor and fault.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "services/runtime/loader/store/safetensors.h"
#include "services/runtime/loader/store/tensor_store.h"

namespace tandem {

class Checkpoint final : public TensorStore {
 public:
  static absl::StatusOr<Checkpoint> Open(const std::string& folder);

  absl::StatusOr<const TensorBytes*> Find(const TensorAsk& ask) override;
  const absl::btree_map<std::string, TensorBytes>& tensors() const override { return tensors_; }
  uint64_t bytes() const { return bytes_; }

 private:
  Checkpoint() = default;
  absl::Status AddShard(const std::string& path);

  std::vector<SafetensorsFile> shards_;
  absl::btree_map<std::string, TensorBytes> tensors_;
  uint64_t bytes_ = 0;
};

}  // namespace tandem
