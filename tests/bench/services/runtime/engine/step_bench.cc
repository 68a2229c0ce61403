// SPDX-License-Identifier: Apache-2.0
// How long a worker's steps take: prompts read in chunks, then answers of growing batches at one
// context. Of the engine that a decode worker's config asks for, weights, device and ranks
// included; no RPC and no scheduler.
//
//   step_bench CONFIG [context=4096] [prompt=8192] [chunk=4096] [steps=64]
//
// Decode: the sequences of a batch share the context's pages, which a prompt has filled, and have a
// slot each; every step draws. TPOT is the mean of `steps` steps, host included; launches are the
// kernels of one. Prefill: the second of two runs; short prompts: the mean of `steps`.
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/service_config.h"
#include "services/runtime/engine/worker_engine.h"
#include "services/runtime/kv/kv_storage.h"

namespace tandem {
namespace {

struct Sizes {
  int64_t context = 4096;
  int64_t prompt = 8192;
  int64_t chunk = 4096;
  int64_t steps = 64;
};

absl::StatusOr<Sizes> ParseSizes(absl::Span<char* const> words) {
  Sizes sizes;
  const std::map<std::string, int64_t*> fields = {{"context", &sizes.context},
                                                  {"prompt", &sizes.prompt},
                                                  {"chunk", &sizes.chunk},
                                                  {"steps", &sizes.steps}};
  for (const std::string word : words) {
    const std::pair<std::string, std::string> field = absl::StrSplit(word, absl::MaxSplits('=', 1));
    const auto at = fields.find(field.first);
    if (at != fields.end() && absl::SimpleAtoi(field.second, at->second) && *at->second > 0) {
      continue;
    }
    return absl::InvalidArgumentError(word + ": no size=positive number of this benchmark");
  }
  return sizes;
}

class StepBench {
 public:
  static constexpr int kBatchMax = 64;

  static absl::StatusOr<std::unique_ptr<StepBench>> Create(const v1::DecodeConfig& config,
                                                           const Sizes& sizes) {
    const int64_t tokens = std::max(sizes.context + 2 * kPageTokens, sizes.prompt);
    std::unique_ptr<StepBench> out(new StepBench(sizes));
    ASSIGN_OR_RETURN(out->worker_,
                     MakeWorkerEngine(config.worker(),
                                      {.tokens_per_step = static_cast<int>(sizes.chunk),
                                       .chunks_per_step = kBatchMax,
                                       .pool_tokens = KvLayout::PagesFor(tokens) * kPageTokens}));
    ASSIGN_OR_RETURN(const KvLayout layout,
                     KvLayout::Create(out->worker_.config(),
                                      {.pages = KvLayout::PagesFor(tokens), .slots = kBatchMax}));
    ASSIGN_OR_RETURN(out->pool_, KvStorage::CreatePrivate(layout, out->worker_.backends));
    for (int page = 0; page < layout.pages(); ++page) out->pages_.push_back(page);
    for (int64_t i = 0; i < tokens; ++i) {
      out->tokens_.push_back(static_cast<int32_t>(i * 7919 % out->worker_.config().vocab_size));
    }
    return out;
  }

  // Of the last step.
  int64_t launches() const { return worker_.engine->launches(); }

  // Seconds of reading a prompt of `tokens`.
  double Read(int64_t tokens) {
    const absl::Time begin = Clock::Real().Now();
    for (int64_t at = 0; at < tokens; at += sizes_.chunk) {
      const int64_t size = std::min(sizes_.chunk, tokens - at);
      const EngineChunk chunk = {.tokens = absl::MakeConstSpan(tokens_).subspan(
                                     static_cast<size_t>(at), static_cast<size_t>(size)),
                                 .start = at,
                                 .slot = 0,
                                 .pages = pages_,
                                 .sampler = at + size == tokens ? &sampler_ : nullptr};
      worker_.engine->Step({&chunk, 1}, pool_->view());
    }
    return absl::ToDoubleSeconds(Clock::Real().Now() - begin);
  }

  // Seconds of reading a prompt of `tokens` that fits a chunk, as the mean of many.
  double ReadShort(int64_t tokens) {
    for (int64_t i = 0; i < kWarm; ++i) Read(tokens);
    double sum = 0;
    for (int64_t i = 0; i < sizes_.steps; ++i) sum += Read(tokens);
    return sum / static_cast<double>(sizes_.steps);
  }

  // Seconds of a step in which `batch` sequences write a token each, from the context on.
  double Write(int batch) {
    absl::Time begin;
    for (int64_t step = 0; step < kWarm + sizes_.steps; ++step) {
      if (step == kWarm) begin = Clock::Real().Now();
      std::vector<EngineChunk> chunks;
      for (int i = 0; i < batch; ++i) {
        chunks.push_back({.tokens = absl::MakeConstSpan(tokens_).subspan(static_cast<size_t>(i), 1),
                          .start = sizes_.context + step,
                          .slot = i,
                          .pages = pages_,
                          .sampler = &sampler_});
      }
      worker_.engine->Step(chunks, pool_->view());
    }
    return absl::ToDoubleSeconds(Clock::Real().Now() - begin) / static_cast<double>(sizes_.steps);
  }

 private:
  static constexpr int kWarm = 4;  // run plainly, recorded, replayed

  explicit StepBench(const Sizes& sizes) : sizes_(sizes) {}

  const Sizes sizes_;
  WorkerEngine worker_;
  std::unique_ptr<KvStorage> pool_;
  const Sampler sampler_{SamplerSpec{}, {}};
  std::vector<int32_t> pages_;
  std::vector<int32_t> tokens_;
};

absl::Status Run(const std::string& path, const Sizes& sizes) {
  ASSIGN_OR_RETURN(const v1::DecodeConfig config, LoadDecodeConfig(path));
  const absl::Time begin = Clock::Real().Now();
  ASSIGN_OR_RETURN(const std::unique_ptr<StepBench> bench, StepBench::Create(config, sizes));
  std::cout << absl::StrFormat(
                   "Ready after %.1f s\n\n| phase | tokens | ms | tokens/s | launches |\n",
                   absl::ToDoubleSeconds(Clock::Real().Now() - begin))
            << "|---|--:|--:|--:|--:|\n";
  bench->Read(sizes.prompt);
  const double read = bench->Read(sizes.prompt);
  std::cout << absl::StrFormat("| prefill, chunks of %d | %d | %.1f | %.0f | |\n", sizes.chunk,
                               sizes.prompt, 1e3 * read, static_cast<double>(sizes.prompt) / read);
  for (const int64_t tokens : {1, 16, 64}) {
    const double step = bench->ReadShort(tokens);
    std::cout << absl::StrFormat("| prefill of a short prompt | %d | %.3f | %.0f | %d |\n", tokens,
                                 1e3 * step, static_cast<double>(tokens) / step, bench->launches());
  }
  bench->Read(sizes.context);
  for (int batch = 1; batch <= StepBench::kBatchMax; batch *= 2) {
    const double step = bench->Write(batch);
    std::cout << absl::StrFormat("| decode at %d | %d | %.3f | %.0f | %d |\n", sizes.context, batch,
                                 1e3 * step, batch / step, bench->launches())
              << std::flush;
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: step_bench CONFIG [context=N] [prompt=N] [chunk=N] [steps=N]\n";
    return 2;
  }
  const auto sizes = tandem::ParseSizes({argv + 2, static_cast<size_t>(argc - 2)});
  const absl::Status status = sizes.ok() ? tandem::Run(argv[1], *sizes) : sizes.status();
  if (status.ok()) return 0;
  std::cerr << "step_bench: " << status << "\n";
  return 1;
}
