// SPDX-License-Identifier: Apache-2.0
#include "tests/services/runtime/model/golden.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <utility>

#include "nlohmann/json.hpp"
#include "services/runtime/base/check.h"

namespace tandem {
namespace {

constexpr int kMaxTokens = 1024;
constexpr size_t kAlignment = 256;

template <typename T>
T Value(absl::StatusOr<T> value) {
  CHECK(value.ok());
  return *std::move(value);
}

}  // namespace

std::vector<GoldenCase> LoadGolden(const std::string& file, size_t longest) {
  std::ifstream in(std::string(TANDEM_SOURCE_DIR "/tests/golden/model/") + file);
  std::vector<GoldenCase> out;
  const nlohmann::json whole = nlohmann::json::parse(in);
  for (const auto& [name, json] : whole["cases"].items()) {
    GoldenCase c{
        .name = name, .prompt = json["prompt"], .argmax = json["argmax"], .margin = json["margin"]};
    if (c.prompt.size() > longest) continue;
    for (size_t i = 1; i < c.prompt.size(); ++i)
      c.prompt_logprob.push_back(json["prompt_logprob"][i]);
    for (const auto& step : json["decode"]) {
      const auto& top = step["top"];
      c.decode.push_back({.token = step["token"], .lead = double{top[0][1]} - double{top[1][1]}});
    }
    out.push_back(std::move(c));
  }
  CHECK(!out.empty());
  return out;
}

const LoadedModel& ModelNamed(const std::string& name, const kernels::KernelTable& table) {
  static auto& loaded = *new std::map<std::pair<std::string, const kernels::KernelTable*>,
                                      std::unique_ptr<LoadedModel>>;
  auto& entry = loaded[{name, &table}];
  if (entry == nullptr) {
    const std::string folder =
        name == "tiny" ? TANDEM_SOURCE_DIR "/deploy/models/tiny-v4" : TANDEM_GOLDEN_DIR "/" + name;
    entry = Value(LoadedModel::Load(folder, table));
  }
  return *entry;
}

void Pool::Free::operator()(std::byte* p) const {
  std::free(p);
}

Pool::Pool(const ModelConfig& config, KvLayout::Size size)
    : layout_(Value(KvLayout::Create(config, size))),
      memory_(static_cast<std::byte*>(std::aligned_alloc(kAlignment, layout_.bytes()))) {
  // What a used pool holds: nothing may depend on it. All ones is a NaN in every format.
  std::memset(memory_.get(), 0xFF, layout_.bytes());
}

LogitsRows2d Run(Model& model, Pool& pool, const RunArgs& args) {
  LogitsRows2d out;
  for (size_t done = 0; done < args.tokens.size();) {
    const auto tokens = args.tokens.subspan(done, static_cast<size_t>(args.chunk));
    const SequenceChunk chunk{.tokens = tokens,
                              .start = args.start + static_cast<int64_t>(done),
                              .slot = args.place.slot,
                              .pages = args.place.pages,
                              .logits = LogitsRows::kAll};
    model.Forward({&chunk, 1}, pool.view(), [&out](const LogitsRow& row) {
      out.emplace_back(row.logits.begin(), row.logits.end());
    });
    done += tokens.size();
  }
  CHECK_EQ(out.size(), args.tokens.size());
  return out;
}

std::unique_ptr<Model> MakeModel(const LoadedModel& loaded, const kernels::KernelTable& table) {
  return Value(Model::Create(
      loaded.config(), loaded.weights(), table,
      {.max_tokens_per_step = kMaxTokens, .max_chunks_per_step = 32, .max_positions = 1024}));
}

double LogProb(absl::Span<const float> logits, int32_t token) {
  const double peak = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float l : logits) sum += std::exp(l - peak);
  return logits[token] - peak - std::log(sum);
}

int32_t Argmax(absl::Span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

Off OffFrom(const LogitsRows2d& logits, absl::Span<const int32_t> tokens,
            absl::Span<const double> want) {
  Off off;
  for (size_t i = 0; i < want.size(); ++i) {
    const double d = std::abs(LogProb(logits[i], tokens[i + 1]) - want[i]);
    // Not max(): a NaN must be seen.
    if (!(d <= off.worst)) off.worst = d;
    off.mean += d / static_cast<double>(want.size());
  }
  return off;
}

}  // namespace tandem
