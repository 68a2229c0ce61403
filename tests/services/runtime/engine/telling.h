// SPDX-License-Identifier: Apache-2.0
// What the tests of worker engines share: an engine made as a worker makes it, a pool with the
// copies that it expects, and goldens told on them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "services/runtime/engine/worker_engine.h"
#include "services/runtime/kv/kv_storage.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {

// "tiny", "random-a" …
WorkerEngine MakeWorker(const std::string& model, v1::WorkerConfig config, bool record = true);
std::unique_ptr<KvStorage> MakePool(const WorkerEngine& worker);

struct Told {
  std::vector<double> prompt_logprobs;  // of prompt[i + 1]
  std::vector<TokenChoice> choices;     // after the prompt, then after every token of the answer
};

// Reads the prompt in chunks, then the answer, token by token, drawing as told.
Told Tell(const WorkerEngine& worker, const KvStorage& pool, const GoldenCase& c,
          const SamplerSpec& spec);

// The ranks' copies of a pool.
void ExpectEqualCopies(const KvStorage& pool);

// |differences|, on average and at worst.
struct Off {
  double mean = 0, worst = 0;
};
Off Compare(const std::vector<double>& got, const std::vector<double>& wanted);

void ExpectGoldens(const WorkerEngine& worker, const std::vector<GoldenCase>& cases,
                   const Tolerance& tolerance);

}  // namespace tandem
