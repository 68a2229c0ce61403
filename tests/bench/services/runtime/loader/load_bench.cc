// SPDX-License-Identifier: Apache-2.0
// How long a rank's weights take to load, and whether they compute: a prompt's last logits.
//
//   load_bench FOLDER FORMAT DEVICE [RANKS [RANK]]
//
// FORMAT is checkpoint or dummy; DEVICE cpu, cuda (GPU 0), or both, which loads on both and
// compares the logits. A rank alone computes its part of a model: noise, but the same on every
// device.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "kernels/select.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/kv/kv_storage.h"
#include "services/runtime/loader/loaded_model.h"
#include "services/runtime/model/model.h"

namespace tandem {
namespace {

constexpr int kTokens = 64;

// Of the prompt's last token.
absl::StatusOr<std::vector<float>> Logits(const LoadedModel& loaded,
                                          const kernels::KernelSet& kernels) {
  ASSIGN_OR_RETURN(const KvLayout layout,
                   KvLayout::Create(loaded.config(), {.pages = 1, .slots = 1}));
  ASSIGN_OR_RETURN(const auto pool, KvStorage::CreatePrivate(layout, {&kernels.backend}));
  ASSIGN_OR_RETURN(
      const auto model,
      Model::Create(
          {.config = loaded.shard_config(), .weights = loaded.weights(), .kernels = kernels},
          {.max_tokens_per_step = kTokens, .max_positions = 256}));
  std::vector<int32_t> tokens(kTokens);
  std::iota(tokens.begin(), tokens.end(), 40);
  const int32_t page = 0;
  const SequenceChunk chunk{.tokens = tokens, .pages = {&page, 1}};
  std::vector<float> out(loaded.shard_config().head_rows);
  for (int run = 0; run < 2; ++run) {  // the first one takes working memory
    const absl::Time begin = Clock::Real().Now();
    model->Forward({&chunk, 1}, pool->view(), [&](const LogitsBlock& block) {
      CHECK(kernels.backend.Synchronize(model->stream()));
      kernels.backend.CopyNow({.to = out.data(),
                               .from = block.logits.data,
                               .bytes = static_cast<int64_t>(out.size() * sizeof(float))});
    });
    std::cout << absl::StrFormat("forward of %d tokens: %.1f ms\n", kTokens,
                                 absl::ToDoubleMilliseconds(Clock::Real().Now() - begin));
  }
  return out;
}

void PrintLogits(const std::vector<float>& logits) {
  double squares = 0;
  int64_t finite = 0;
  for (const float value : logits) {
    if (!std::isfinite(value)) continue;
    ++finite;
    squares += double{value} * value;
  }
  std::cout << absl::StrFormat("logits: %d of %d finite, rms %.3f\n", finite, logits.size(),
                               std::sqrt(squares / static_cast<double>(finite)));
}

absl::StatusOr<std::vector<float>> LoadAndRun(const LoadOptions& options) {
  const absl::Time begin = Clock::Real().Now();
  ASSIGN_OR_RETURN(const auto loaded, LoadedModel::Load(options));
  const double seconds = absl::ToDoubleSeconds(Clock::Real().Now() - begin);
  std::cout << absl::StrFormat("%s, rank %d of %d on %s: %.2f s, %d bytes, %.1f GB/s\n",
                               options.folder, options.shard.rank, options.shard.ranks,
                               options.kernels.backend.Describe(), seconds, loaded->bytes(),
                               static_cast<double>(loaded->bytes()) / 1e9 / seconds);
  ASSIGN_OR_RETURN(std::vector<float> logits, Logits(*loaded, options.kernels));
  PrintLogits(logits);
  return logits;
}

absl::Status Run(const std::vector<std::string>& words) {
  const Shard shard{.rank = words.size() > 4 ? std::stoi(words[4]) : 0,
                    .ranks = words.size() > 3 ? std::stoi(words[3]) : 1};
  const LoadFormat format = words[1] == "dummy" ? LoadFormat::kDummy : LoadFormat::kCheckpoint;
  std::vector<std::vector<float>> results;
  if (words[2] != "cuda") {
    const kernels::KernelSet cpu(kernels::SelectKernels(kernels::Device::kCpu));
    ASSIGN_OR_RETURN(
        results.emplace_back(),
        LoadAndRun({.folder = words[0], .kernels = cpu, .shard = shard, .format = format}));
  }
  if (words[2] != "cpu") {
    const kernels::Gpu gpu = kernels::SelectGpu(0);
    if (gpu.backend == nullptr) return absl::FailedPreconditionError(gpu.why);
    const kernels::KernelSet cuda(*gpu.table, *gpu.backend);
    ASSIGN_OR_RETURN(
        results.emplace_back(),
        LoadAndRun({.folder = words[0], .kernels = cuda, .shard = shard, .format = format}));
  }
  if (results.size() < 2) return absl::OkStatus();
  float most = 0;
  for (size_t i = 0; i < results[0].size(); ++i) {
    most = std::max(most, std::abs(results[0][i] - results[1][i]));
  }
  const auto best = [](const std::vector<float>& logits) {
    return std::max_element(logits.begin(), logits.end()) - logits.begin();
  };
  std::cout << absl::StrFormat("cpu to cuda: largest difference %.4f, best token %d and %d\n", most,
                               best(results[0]), best(results[1]));
  return absl::OkStatus();
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "usage: load_bench FOLDER checkpoint|dummy cpu|cuda|both [RANKS [RANK]]\n";
    return 2;
  }
  const absl::Status status = tandem::Run({argv + 1, argv + argc});
  if (status.ok()) return 0;
  std::cerr << "load_bench: " << status << "\n";
  return 1;
}
