// SPDX-License-Identifier: Apache-2.0
// What the model tests share: golden files, loaded models by name, and a model with a pool to run
// sequences on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "services/runtime/loader/loaded_model.h"
#include "services/runtime/model/model.h"

namespace tandem {

// One row of logits per token.
using LogitsRows2d = std::vector<std::vector<float>>;

struct GoldenStep {
  int32_t token = 0;
  double lead = 0;  // of the token over the second best
};

struct GoldenCase {
  std::string name;
  std::vector<int32_t> prompt;
  std::vector<double> prompt_logprob;  // of prompt[i + 1]
  std::vector<int32_t> argmax;         // after prompt[i]
  std::vector<double> margin;          // its lead
  std::vector<GoldenStep> decode;
};

// The cases of tests/golden/model/`file`, those of at most `longest` prompt tokens.
std::vector<GoldenCase> LoadGolden(const std::string& file, size_t longest = 100'000);

// "tiny", "random-a" … on a table; loaded once a process.
const LoadedModel& ModelNamed(const std::string& name, const kernels::KernelTable& table);

// A KV pool of one model, with some sequences' places in it.
class Pool {
 public:
  Pool(const ModelConfig& config, KvLayout::Size size);
  KvView view() { return {.base = memory_.get(), .layout = &layout_}; }
  const KvLayout& layout() const { return layout_; }
  std::byte* base() { return memory_.get(); }

 private:
  const KvLayout layout_;
  struct Free {
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte[], Free> memory_;
};

struct Place {
  int slot = 0;
  std::vector<int32_t> pages = {0, 1, 2, 3};
};

// Runs `tokens` from position `start` in steps of `chunk` tokens; the logits after every one of
// them.
struct RunArgs {
  Place place;
  absl::Span<const int32_t> tokens;
  int64_t start = 0;
  int chunk = 1 << 20;
};
LogitsRows2d Run(Model& model, Pool& pool, const RunArgs& args);

std::unique_ptr<Model> MakeModel(const LoadedModel& loaded, const kernels::KernelTable& table);

double LogProb(absl::Span<const float> logits, int32_t token);
int32_t Argmax(absl::Span<const float> logits);

// The prompt's log-probabilities against `want` (of token i + 1): |difference|, mean and worst.
struct Off {
  double mean = 0;
  double worst = 0;
};
Off OffFrom(const LogitsRows2d& logits, absl::Span<const int32_t> tokens,
            absl::Span<const double> want);

}  // namespace tandem
