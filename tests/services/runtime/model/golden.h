// SPDX-License-Identifier: Apache-2.0
// What the model tests share: golden files, loaded models by name, and a model with a pool to run
// sequences on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "services/runtime/kv/kv_storage.h"
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

// The folder of "tiny", "random-a" …
std::string FolderNamed(const std::string& name);

// One of them on a kernel set; loaded once a process.
const LoadedModel& ModelNamed(const std::string& name, const kernels::KernelSet& kernels);

// A rank's part of it; loaded anew.
std::unique_ptr<LoadedModel> ShardNamed(const std::string& name, const kernels::KernelSet& kernels,
                                        const Shard& shard);

// A KV pool of one model, with some sequences' places in it.
class Pool {
 public:
  Pool(const ModelConfig& config, KvLayout::Size size,
       kernels::Backend& backend = kernels::HostBackend());
  KvView view() { return storage_->view(); }
  const KvLayout& layout() const { return storage_->layout(); }
  std::byte* base() { return view().base; }
  const KvStorage& storage() const { return *storage_; }

 private:
  const std::unique_ptr<KvStorage> storage_;
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
LogitsRows2d RunTokens(Model& model, Pool& pool, const RunArgs& args);

// For a sink of Forward: the block's logits as rows on the host, behind those of `out`.
void AppendRows(Model& model, const LogitsBlock& block, LogitsRows2d& out);

std::unique_ptr<Model> MakeModel(const LoadedModel& loaded, const kernels::KernelSet& kernels);

double LogProb(absl::Span<const float> logits, int32_t token);
int32_t Argmax(absl::Span<const float> logits);

// The prompt, then the greedy answer.
std::vector<int32_t> PromptAndAnswer(const GoldenCase& c);

// The cases' prompt log-probabilities that the executable specification gives, of a layer golden.
GoldenCase LoadLayerPrompt(const std::string& name);

struct Tolerance {
  double mean = 0;
  double worst = 0;
  double lead = 0;  // greedy choices are equal wherever the golden's lead exceeds this
};
// Design section 3. Random networks are chaotic: a mean, and no word on single tokens.
inline constexpr Tolerance kTrained{.mean = 0.005, .worst = 0.1, .lead = 0.05};
inline constexpr Tolerance kRandom{.mean = 0.3, .worst = 1e9, .lead = 1e9};

// Judges the logits after every token of PromptAndAnswer(c), and prints how far off they are.
void ExpectGolden(const GoldenCase& c, const LogitsRows2d& logits, const Tolerance& tolerance);

}  // namespace tandem
