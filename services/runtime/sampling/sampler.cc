// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/sampling/sampler.h"

namespace tandem {

Sampler::Sampler(const SamplerSpec& spec, absl::Span<const int32_t> prompt) : spec_(spec) {
  if (spec_.repetition_penalty == 1) return;
  for (const int32_t id : prompt) seen_.emplace(id, 0);
}

void Sampler::Accept(int32_t id) {
  ++drawn_;
  const bool penalised =
      spec_.repetition_penalty != 1 || spec_.presence_penalty != 0 || spec_.frequency_penalty != 0;
  if (penalised) ++seen_[id];
}

}  // namespace tandem
