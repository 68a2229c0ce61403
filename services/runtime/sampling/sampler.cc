// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/sampling/sampler.h"

#include "kernels/common/stream.h"
#include "services/runtime/base/check.h"

namespace tandem {
namespace {

using kernels::TensorView;

TensorView<const float, 2> AsRow(absl::Span<const float> logits) {
  return {logits.data(), {1, static_cast<int64_t>(logits.size())}};
}

template <typename T>
TensorView<T, 1> AsVector(T* data, int64_t size = 1) {
  return {data, {size}};
}

}  // namespace

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

void Sampler::Penalise(const Kernels& kernels, std::vector<float>& logits) const {
  const std::vector<int32_t> begin = {0, static_cast<int32_t>(seen_.size())};
  std::vector<int32_t> tokens;
  std::vector<int32_t> counts;
  for (const auto& [id, count] : seen_) {
    tokens.push_back(id);
    counts.push_back(count);
  }
  const auto entries = static_cast<int64_t>(tokens.size());
  kernels.table.penalties({.logits = {logits.data(), {1, static_cast<int64_t>(logits.size())}},
                           .begin = AsVector(begin.data(), 2),
                           .token = AsVector<const int32_t>(tokens.data(), entries),
                           .count = AsVector<const int32_t>(counts.data(), entries),
                           .repetition = AsVector(&spec_.repetition_penalty),
                           .presence = AsVector(&spec_.presence_penalty),
                           .frequency = AsVector(&spec_.frequency_penalty)},
                          kernels.stream);
}

TokenChoice Sampler::Draw(const Kernels& kernels, absl::Span<const float> logits) const {
  float u = 0;
  kernels.table.uniform(
      {.seed = AsVector(&spec_.seed), .counter = AsVector(&drawn_), .u = AsVector(&u)},
      kernels.stream);

  std::vector<float> penalised;
  absl::Span<const float> scores = logits;
  if (!seen_.empty()) {
    penalised.assign(logits.begin(), logits.end());
    Penalise(kernels, penalised);
    scores = penalised;
  }
  TokenChoice choice;
  kernels.table.sample({.logits = AsRow(scores),
                        .temperature = AsVector(&spec_.temperature),
                        .top_k = AsVector(&spec_.top_k),
                        .top_p = AsVector(&spec_.top_p),
                        .min_p = AsVector(&spec_.min_p),
                        .u = AsVector<const float>(&u),
                        .token = AsVector(&choice.id)},
                       kernels.stream);
  if (!spec_.logprobs.has_value()) return choice;

  const int64_t k = *spec_.logprobs;
  std::vector<int32_t> ids(k);
  std::vector<float> values(k);
  kernels.table.top_logprobs({.logits = AsRow(logits),
                              .token = AsVector<const int32_t>(&choice.id),
                              .chosen = AsVector(&choice.logprob),
                              .ids = {ids.data(), {1, k}},
                              .values = {values.data(), {1, k}}},
                             kernels.stream);
  for (int64_t i = 0; i < k; ++i) choice.top.push_back({.id = ids[i], .logprob = values[i]});
  return choice;
}

float LogProbability(const Kernels& kernels, absl::Span<const float> logits, int32_t token) {
  float chosen = 0;
  kernels.table.top_logprobs({.logits = AsRow(logits),
                              .token = AsVector<const int32_t>(&token),
                              .chosen = AsVector(&chosen),
                              .ids = {nullptr, {1, 0}},
                              .values = {nullptr, {1, 0}}},
                             kernels.stream);
  return chosen;
}

}  // namespace tandem
