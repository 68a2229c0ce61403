// SPDX-License-Identifier: Apache-2.0
#include "tests/services/runtime/model/golden.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <utility>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "services/runtime/base/check.h"
#include "services/runtime/loader/store/safetensors.h"

namespace tandem {
namespace {

constexpr int kMaxTokens = 1024;

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

std::string FolderNamed(const std::string& name) {
  return name == "tiny" ? TANDEM_SOURCE_DIR "/deploy/models/tiny-v4" : TANDEM_GOLDEN_DIR "/" + name;
}

const LoadedModel& ModelNamed(const std::string& name, const kernels::KernelSet& kernels) {
  static auto& loaded = *new std::map<std::pair<std::string, const kernels::KernelTable*>,
                                      std::unique_ptr<LoadedModel>>;
  auto& entry = loaded[{name, &kernels.table}];
  if (entry == nullptr) entry = ShardNamed(name, kernels, {});
  return *entry;
}

std::unique_ptr<LoadedModel> ShardNamed(const std::string& name, const kernels::KernelSet& kernels,
                                        const Shard& shard) {
  return Value(
      LoadedModel::Load({.folder = FolderNamed(name), .kernels = kernels, .shard = shard}));
}

Pool::Pool(const ModelConfig& config, KvLayout::Size size, kernels::Backend& backend)
    : storage_(Value(KvStorage::CreatePrivate(Value(KvLayout::Create(config, size)), {&backend}))) {
  // What a used pool holds: nothing may depend on it. All ones is a NaN in every format.
  storage_->Write(0, std::string(layout().bytes(), '\xFF'));
}

void AppendRows(Model& model, const LogitsBlock& block, LogitsRows2d& out) {
  kernels::Backend& backend = model.kernels().backend;
  CHECK(backend.Synchronize(model.stream()));
  const int64_t vocabulary = block.logits.shape[1];
  for (int64_t row = 0; row < block.logits.shape[0]; ++row) {
    backend.CopyNow({.to = out.emplace_back(vocabulary).data(),
                     .from = block.logits.row(row),
                     .bytes = vocabulary * static_cast<int64_t>(sizeof(float))});
  }
}

LogitsRows2d RunTokens(Model& model, Pool& pool, const RunArgs& args) {
  LogitsRows2d out;
  for (size_t done = 0; done < args.tokens.size();) {
    const auto tokens = args.tokens.subspan(done, static_cast<size_t>(args.chunk));
    const SequenceChunk chunk{.tokens = tokens,
                              .start = args.start + static_cast<int64_t>(done),
                              .slot = args.place.slot,
                              .pages = args.place.pages,
                              .logits = LogitsRows::kAll};
    model.Forward({&chunk, 1}, pool.view(),
                  [&](const LogitsBlock& block) { AppendRows(model, block, out); });
    done += tokens.size();
  }
  CHECK_EQ(out.size(), args.tokens.size());
  return out;
}

std::unique_ptr<Model> MakeModel(const LoadedModel& loaded, const kernels::KernelSet& kernels) {
  return Value(Model::Create(
      {.config = loaded.config(), .weights = loaded.weights(), .kernels = kernels},
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

std::vector<int32_t> PromptAndAnswer(const GoldenCase& c) {
  std::vector<int32_t> tokens = c.prompt;
  for (const GoldenStep& step : c.decode) tokens.push_back(step.token);
  return tokens;
}

GoldenCase LoadLayerPrompt(const std::string& name) {
  const auto file = Value(SafetensorsFile::Open(TANDEM_SOURCE_DIR "/tests/golden/model/layers_" +
                                                name + ".safetensors"));
  const auto element = [&file](const char* tensor, size_t i, auto zero) {
    std::memcpy(&zero, file.tensors().at(tensor).bytes.data() + i * sizeof(zero), sizeof(zero));
    return zero;
  };
  GoldenCase out{.name = name};
  for (int64_t i = 0; i < file.tensors().at("ids").shape[0]; ++i) {
    out.prompt.push_back(static_cast<int32_t>(element("ids", i, int64_t{0})));
    if (i > 0) out.prompt_logprob.push_back(element("prompt_logprob", i, 0.0f));
  }
  return out;
}

void ExpectGolden(const GoldenCase& c, const LogitsRows2d& logits, const Tolerance& tolerance) {
  double mean = 0, worst = 0;
  for (size_t i = 0; i < c.prompt_logprob.size(); ++i) {
    const double off = std::abs(LogProb(logits[i], c.prompt[i + 1]) - c.prompt_logprob[i]);
    if (!(off <= worst)) worst = off;  // not max(): a NaN must be seen
    mean += off / static_cast<double>(c.prompt_logprob.size());
  }
  std::cout << c.name << ": log-probability off by " << mean << " on average, " << worst
            << " at worst\n";
  EXPECT_LE(mean, tolerance.mean) << c.name;
  EXPECT_LE(worst, tolerance.worst) << c.name;
  for (size_t i = 0; i < c.argmax.size(); ++i) {
    if (c.margin[i] <= tolerance.lead) continue;
    EXPECT_EQ(Argmax(logits[i]), c.argmax[i]) << c.name << " after prompt token " << i;
  }
  for (size_t i = 0; i < c.decode.size(); ++i) {
    if (c.decode[i].lead <= tolerance.lead) continue;
    EXPECT_EQ(Argmax(logits[c.prompt.size() - 1 + i]), c.decode[i].token)
        << c.name << " step " << i;
  }
}

}  // namespace tandem
