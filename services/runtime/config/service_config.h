// SPDX-License-Identifier: Apache-2.0
// The configs of the three processes: read, defaulted, validated. What these return has every
// optional field set, but for WorkerConfig.context_tokens_max, whose default is known only with the
// model. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tandem/v1/config.pb.h"

namespace tandem {

// Errors name the file and the field, its limit and its value.
absl::StatusOr<v1::RouterConfig> LoadRouterConfig(const std::string& path);
absl::StatusOr<v1::PrefillConfig> LoadPrefillConfig(const std::string& path);
absl::StatusOr<v1::DecodeConfig> LoadDecodeConfig(const std::string& path);

// The defaults of config.proto, for fields that are absent.
void ApplyDefaults(v1::RouterConfig& config);
void ApplyDefaults(v1::PrefillConfig& config);
void ApplyDefaults(v1::DecodeConfig& config);

// After ApplyDefaults.
absl::Status Validate(const v1::RouterConfig& config);
absl::Status Validate(const v1::PrefillConfig& config);
absl::Status Validate(const v1::DecodeConfig& config);

// Each rank's GPU. After Validate, of a worker with DEVICE_CUDA.
std::vector<int> GpusOf(const v1::WorkerConfig& worker);

}  // namespace tandem
