// SPDX-License-Identifier: Apache-2.0
// Sampling as messages, and back. Pure.
#pragma once

#include "absl/status/status.h"
#include "services/runtime/sampling/sampler.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

SamplerSpec SpecOf(const v1::SamplingParams& params);
v1::SampledToken ToProto(const TokenChoice& choice);

// INVALID_ARGUMENT naming the field: a worker does not trust that its caller was the router.
absl::Status CheckSampling(const v1::SamplingParams& params, int vocab_size);

}  // namespace tandem
