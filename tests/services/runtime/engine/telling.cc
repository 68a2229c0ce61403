// SPDX-License-Identifier: Apache-2.0
#include "tests/services/runtime/engine/telling.h"

#include <cmath>
#include <iostream>
#include <utility>

#include "gtest/gtest.h"
#include "services/runtime/base/check.h"

namespace tandem {

WorkerEngine MakeWorker(const std::string& model, v1::WorkerConfig config, bool record) {
  config.set_model_dir(FolderNamed(model));
  config.set_cuda_graphs(record ? v1::CUDA_GRAPHS_ON : v1::CUDA_GRAPHS_OFF);
  auto worker = MakeWorkerEngine(
      config, {.tokens_per_step = 512, .chunks_per_step = 16, .pool_tokens = 4 * kPageTokens});
  if (!worker.ok()) CheckFailed(__FILE__, __LINE__, worker.status().ToString());
  return *std::move(worker);
}

std::unique_ptr<KvStorage> MakePool(const WorkerEngine& worker) {
  auto pool = KvStorage::CreatePrivate(*KvLayout::Create(worker.config(), {.pages = 4, .slots = 2}),
                                       worker.backends);
  CHECK(pool.ok());
  (*pool)->Write(0, std::string((*pool)->layout().bytes(), '\xFF'));
  return *std::move(pool);
}

Told Tell(const WorkerEngine& worker, const KvStorage& pool, const GoldenCase& c,
          const SamplerSpec& spec) {
  const std::vector<int32_t> pages = {2, 0, 3, 1};
  const Sampler sampler(spec, {});
  Told told;
  constexpr size_t kChunk = 50;
  for (size_t at = 0; at < c.prompt.size(); at += kChunk) {
    const auto tokens = absl::MakeConstSpan(c.prompt).subspan(at, kChunk);
    const bool last = at + tokens.size() == c.prompt.size();
    ChunkResult result =
        worker.engine->Step({{.tokens = tokens,
                              .start = static_cast<int64_t>(at),
                              .slot = 1,
                              .pages = pages,
                              .sampler = last ? &sampler : nullptr,
                              .targets = absl::MakeConstSpan(c.prompt).subspan(at + 1, kChunk)}},
                            pool.view())[0];
    told.prompt_logprobs.insert(told.prompt_logprobs.end(), result.target_logprobs.begin(),
                                result.target_logprobs.end());
    if (last) told.choices.push_back(std::move(result.choice));
  }
  auto position = static_cast<int64_t>(c.prompt.size());
  for (const GoldenStep& step : c.decode) {
    told.choices.push_back(worker.engine
                               ->Step({{.tokens = {&step.token, 1},
                                        .start = position++,
                                        .slot = 1,
                                        .pages = pages,
                                        .sampler = &sampler}},
                                      pool.view())[0]
                               .choice);
  }
  return told;
}

void ExpectEqualCopies(const KvStorage& pool) {
  std::string first, other(pool.layout().bytes(), ' ');
  const KvView view = pool.view();
  for (size_t r = 0; r < view.copies.size(); ++r) {
    pool.backends()[r]->CopyNow(
        {.to = other.data(), .from = view.copies[r], .bytes = static_cast<int64_t>(other.size())});
    if (r == 0) first = other;
    EXPECT_TRUE(first == other) << "of rank " << r;
  }
}

Off Compare(const std::vector<double>& got, const std::vector<double>& wanted) {
  Off off;
  EXPECT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double one = std::abs(got[i] - wanted[i]);
    off.mean += one / static_cast<double>(wanted.size());
    if (!(one <= off.worst)) off.worst = one;  // a NaN as well
  }
  return off;
}

void ExpectGoldens(const WorkerEngine& worker, const std::vector<GoldenCase>& cases,
                   const Tolerance& tolerance) {
  const auto pool = MakePool(worker);
  for (const GoldenCase& c : cases) {
    const Told told = Tell(worker, *pool, c, {.temperature = 0});
    const Off off = Compare(told.prompt_logprobs, c.prompt_logprob);
    std::cout << c.name << ", " << worker.backends.size() << " ranks: log-probability off by "
              << off.mean << " on average, " << off.worst << " at worst\n";
    EXPECT_LE(off.mean, tolerance.mean) << c.name;
    EXPECT_LE(off.worst, tolerance.worst) << c.name;
    for (size_t i = 0; i < c.decode.size(); ++i) {
      if (c.decode[i].lead <= tolerance.lead) continue;
      EXPECT_EQ(told.choices[i].id, c.decode[i].token) << c.name << " " << i;
    }
    ExpectEqualCopies(*pool);
  }
}

}  // namespace tandem
