// SPDX-License-Identifier: Apache-2.0
// What a DecodeService/Generate call asks for: checked, and as the schedule's words. Pure.
#pragma once

#include "absl/status/status.h"
#include "services/runtime/model/config/model_config.h"
#include "services/runtime/scheduler/decode_scheduler.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

// INVALID_ARGUMENT naming field, limit and value.
absl::Status CheckGenerate(const v1::DecodeServiceGenerateRequest& request,
                           const ModelConfig& config);

EndCriteria EndCriteriaOf(const v1::DecodeServiceGenerateRequest& request);
v1::FinishReason ReasonOf(EndReason reason);

}  // namespace tandem
