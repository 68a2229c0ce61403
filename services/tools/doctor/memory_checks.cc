// SPDX-License-Identifier: Apache-2.0
#include "services/tools/doctor/memory_checks.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/runtime/config/service_config.h"
#include "services/runtime/model/config/model_config.h"
#include "services/runtime/plan/worker_bytes.h"
#include "services/tools/text/number_text.h"

namespace tandem {
namespace {

// Whose config.json cannot be read, another line says.
std::optional<ModelConfig> ModelOf(const v1::WorkerConfig& worker) {
  absl::StatusOr<ModelConfig> model = ModelConfig::FromFolder(worker.model_dir());
  return model.ok() ? std::optional<ModelConfig>(*std::move(model)) : std::nullopt;
}

int64_t ContextOf(const v1::WorkerConfig& worker, const ModelConfig& model) {
  return worker.has_context_tokens_max() ? int64_t{worker.context_tokens_max()}
                                         : int64_t{model.max_position_embeddings};
}

int64_t ContextOf(const v1::DecodeConfig& config, const ModelConfig& model) {
  return std::min(ContextOf(config.worker(), model), TokensIn(config.pages()));
}

// Bytes by GPU.
class Uses {
 public:
  explicit Uses(Findings& findings) : findings_(findings) {}

  void Decode(const v1::DecodeConfig& config) {
    Worker(config.worker(), /*reads=*/false, [&config](const ModelConfig& model) {
      return WorkerSize{.tokens_per_step = static_cast<int>(config.batch_max()),
                        .context = ContextOf(config, model),
                        .pool = {.pages = static_cast<int>(config.pages()),
                                 .slots = static_cast<int>(config.slots())}};
    });
  }

  void Prefill(const v1::PrefillConfig& config) {
    Worker(config.worker(), /*reads=*/true, [&config](const ModelConfig& model) {
      return WorkerSize{.tokens_per_step = static_cast<int>(config.chunk_tokens()),
                        .context = ContextOf(config.worker(), model),
                        .pool = {.pages = static_cast<int>(config.staging_pages()),
                                 .slots = static_cast<int>(config.staging_slots())}};
    });
  }

  const std::map<int, int64_t>& bytes() const { return bytes_; }

 private:
  template <typename SizeOf>
  void Worker(const v1::WorkerConfig& worker, bool reads, const SizeOf& size_of) {
    if (worker.device() != v1::DEVICE_CUDA) return;
    const std::optional<ModelConfig> model = ModelOf(worker);
    if (!model.has_value()) return;
    WorkerSize size = size_of(*model);
    size.ranks = static_cast<int>(worker.tensor_parallel());
    const absl::StatusOr<WorkerBytes> bytes = BytesOf(*model, size);
    if (!bytes.ok()) {
      findings_.push_back({.verdict = Verdict::kProblem,
                           .subject = reads ? "prefill" : "decode",
                           .text = std::string(bytes.status().message())});
      return;
    }
    const bool follows = reads && worker.weights() == v1::WEIGHTS_SHARED;
    for (const int gpu : GpusOf(worker)) {
      bytes_[gpu] += bytes->total() - (follows ? bytes->weights : 0);
    }
  }

  Findings& findings_;
  std::map<int, int64_t> bytes_;
};

// Whether a prefill worker writes a decode worker's rows where they are read.
bool InPlace(const v1::PrefillConfig& prefill, const v1::DecodeConfig& decode) {
  const v1::WorkerConfig &a = prefill.worker(), &b = decode.worker();
  return prefill.kv_channel_kind() == v1::KV_CHANNEL_KIND_SHARED && a.device() == b.device() &&
         a.tensor_parallel() == b.tensor_parallel() && GpusOf(a) == GpusOf(b);
}

// Tokens of the longest prompt and answer whose rows go through staging memory.
int64_t StagedTokens(const v1::PrefillConfig& config, const ModelConfig& model,
                     const std::vector<v1::DecodeConfig>& decodes) {
  const int64_t context = ContextOf(config.worker(), model);
  if (decodes.empty()) {
    // With SHARED nothing says that rows are not written in place.
    return config.kv_channel_kind() == v1::KV_CHANNEL_KIND_SHARED ? 0 : context;
  }
  int64_t most = 0;
  for (const v1::DecodeConfig& decode : decodes) {
    if (!InPlace(config, decode)) most = std::max(most, ContextOf(decode, model));
  }
  return std::min(context, most);
}

}  // namespace

Findings CheckGpuMemory(const MemoryChecksArgs& args) {
  Findings out;
  Uses uses(out);
  for (const v1::DecodeConfig& config : args.decodes) uses.Decode(config);
  for (const v1::PrefillConfig& config : args.prefills) uses.Prefill(config);
  if (args.list.gpus.empty()) return out;  // another line says that there is none
  for (const auto& [index, bytes] : uses.bytes()) {
    const std::string subject = absl::StrCat("gpu ", index);
    const auto gpu = absl::c_find_if(
        args.list.gpus, [index = index](const GpuFacts& g) { return g.index == index; });
    if (gpu == args.list.gpus.end()) {
      out.push_back(
          {.verdict = Verdict::kProblem,
           .subject = subject,
           .text = absl::StrFormat("a config names it, and there are %d", args.list.gpus.size())});
      continue;
    }
    const auto free = static_cast<double>(gpu->free_bytes);
    Finding finding{.subject = subject,
                    .text = absl::StrCat("the configs take ", Amount(static_cast<double>(bytes)),
                                         " of it, ", Amount(free), " are free")};
    if (bytes > gpu->free_bytes) {
      finding.verdict = Verdict::kProblem;
      finding.advice =
          "fewer pages or slots, or more GPUs a worker; `tandem doctor --plan` says what fits";
    }
    out.push_back(std::move(finding));
  }
  return out;
}

Findings CheckStaging(const MemoryChecksArgs& args) {
  Findings out;
  for (const v1::PrefillConfig& config : args.prefills) {
    const std::optional<ModelConfig> model = ModelOf(config.worker());
    if (!model.has_value()) continue;
    const int64_t tokens = StagedTokens(config, *model, args.decodes);
    const int64_t room = TokensIn(config.staging_pages());
    if (room >= tokens) continue;
    out.push_back(
        {.verdict =
             config.worker().has_context_tokens_max() ? Verdict::kProblem : Verdict::kWarning,
         .subject = "staging_pages",
         .text = absl::StrCat(config.staging_pages(), " hold ", CountText(room),
                              " tokens; a prompt of more is refused where rows are not written in "
                              "place, and sequences may have ",
                              CountText(tokens)),
         .advice =
             absl::StrCat("staging_pages: ", PagesFor(tokens), ", or a lower context_tokens_max")});
  }
  return out;
}

}  // namespace tandem
