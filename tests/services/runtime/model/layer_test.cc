// SPDX-License-Identifier: Apache-2.0
// Goal: every layer alone, from the reference's own input streams, gives the reference's output
// streams. Method: layer goldens of four checkpoints (SWA, CSA, HCA; hash and score routers; odd
// sizes) on both tables, and of one cut for ranks of a HostGroup. Design section 3: relative error
// of a token's streams 2 % at the median, 6 % at the 99th percentile.
#include "services/runtime/model/layer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/loader/store/safetensors.h"
#include "services/runtime/parallel/host_group.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {
namespace {

constexpr double kMedian = 0.02;
constexpr double kP99 = 0.06;
constexpr float kNearTie = 0.005;       // of a router's scores, which are near 1
constexpr double kJudgedAtLeast = 0.9;  // of the tokens

template <typename To>
std::vector<To> Elements(const TensorBytes& tensor) {
  std::vector<To> out(tensor.bytes.size() / sizeof(To));
  std::memcpy(out.data(), tensor.bytes.data(), tensor.bytes.size());
  return out;
}

double Value(uint16_t bits) {
  return kernels::ToFloat(kernels::Bf16{bits});
}

// ‖got − want‖ / ‖want‖ of one token's streams.
double RelativeError(absl::Span<const uint16_t> got, absl::Span<const uint16_t> want) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double d = Value(got[i]) - Value(want[i]);
    difference += d * d;
    norm += Value(want[i]) * Value(want[i]);
  }
  return std::sqrt(difference / norm);
}

struct Errors {
  double median = 0;
  double p99 = 0;
  size_t judged = 0;
};

// Over the tokens whose `gaps` (none: all) exceed kNearTie.
Errors Judge(const std::vector<uint16_t>& got, const std::vector<uint16_t>& want, size_t tokens,
             const std::vector<float>& gaps) {
  const size_t width = got.size() / tokens;
  std::vector<double> errors;
  for (size_t t = 0; t < tokens; ++t) {
    if (!gaps.empty() && gaps[t] <= kNearTie) continue;
    const double error = RelativeError(absl::MakeConstSpan(got).subspan(t * width, width),
                                       absl::MakeConstSpan(want).subspan(t * width, width));
    errors.push_back(std::isnan(error) ? HUGE_VAL : error);
  }
  std::sort(errors.begin(), errors.end());
  const size_t p99 = (errors.size() * 99 + 99) / 100;
  return {.median = errors[errors.size() / 2], .p99 = errors[p99 - 1], .judged = errors.size()};
}

struct LayerGolden {
  std::vector<int32_t> ids;
  std::vector<std::pair<int, std::vector<uint16_t>>> streams;  // before layer `first`, ascending
};

SafetensorsFile OpenGolden(const std::string& file) {
  auto golden = SafetensorsFile::Open(TANDEM_SOURCE_DIR "/tests/golden/model/" + file);
  CHECK(golden.ok());
  return *std::move(golden);
}

// Empty for a hash layer.
std::vector<float> RouterGaps(const std::string& name, int layer) {
  const SafetensorsFile golden = OpenGolden("router_gaps.safetensors");
  const auto it = golden.tensors().find(name + "_" + std::to_string(layer));
  return it == golden.tensors().end() ? std::vector<float>() : Elements<float>(it->second);
}

LayerGolden Load(const std::string& name) {
  const SafetensorsFile golden = OpenGolden("layers_" + name + ".safetensors");
  LayerGolden out;
  for (const int64_t id : Elements<int64_t>(golden.tensors().at("ids"))) {
    out.ids.push_back(static_cast<int32_t>(id));
  }
  for (int layer = 0; layer < 100; ++layer) {
    const auto it = golden.tensors().find("streams_" + std::to_string(layer));
    if (it != golden.tensors().end())
      out.streams.emplace_back(layer, Elements<uint16_t>(it->second));
  }
  return out;
}

struct LayerCase {
  const char* model;
  const char* golden;
  int layers;  // judged: pairs of neighbouring streams in the file
  int ranks = 1;
};

// A rank's part of a model, with its copy of a pool.
struct RankModel {
  RankModel(const std::string& name, const kernels::KernelTable& table, const Shard& shard,
            RankGroup& group)
      : loaded(ShardNamed(name, table, shard)),
        model(*Model::Create(
            {.config = loaded->shard_config(),
             .weights = loaded->weights(),
             .kernels = table,
             .communicator = shard.ranks == 1 ? nullptr : &group.rank(shard.rank),
             .sums_mlps = CutsMlps(loaded->config(), shard)},
            {.max_tokens_per_step = 512, .max_chunks_per_step = 1, .max_positions = 1024})),
        pool(loaded->config(), {.pages = 4, .slots = 1}) {}

  const std::unique_ptr<LoadedModel> loaded;
  const std::unique_ptr<Model> model;
  Pool pool;
};

class LayerTest : public ::testing::TestWithParam<const kernels::KernelTable*> {
 protected:
  void ExpectLayers(const LayerCase& c) {
    const LayerGolden golden = Load(c.golden);
    HostGroup group(*GetParam(), {.ranks = c.ranks});
    std::vector<std::unique_ptr<RankModel>> ranks;
    for (int r = 0; r < c.ranks; ++r) {
      ranks.push_back(std::make_unique<RankModel>(c.model, *GetParam(), Shard{r, c.ranks}, group));
    }
    const Place place;
    const SequenceChunk chunk{.tokens = golden.ids, .slot = place.slot, .pages = place.pages};
    int judged = 0;
    for (size_t i = 0; i + 1 < golden.streams.size(); ++i) {
      auto [layer, streams] = golden.streams[i];
      if (golden.streams[i + 1].first != layer + 1) continue;
      std::vector<std::vector<uint16_t>> all(ranks.size(), streams);
      {
        std::vector<std::unique_ptr<Thread>> threads;
        for (size_t r = 0; r < ranks.size(); ++r) {
          threads.push_back(std::make_unique<Thread>("rank", [&, r, layer = layer] {
            ranks[r]->model->RunLayer(layer, {&chunk, 1}, ranks[r]->pool.view(),
                                      absl::MakeSpan(all[r]));
          }));
        }
      }
      streams = all[0];
      for (const auto& other : all) EXPECT_EQ(other, streams) << "of another rank";
      const std::vector<float> gaps = RouterGaps(c.golden, layer);
      const Errors e = Judge(streams, golden.streams[i + 1].second, golden.ids.size(), gaps);
      std::cout << GetParam()->name << " " << c.model << " layer " << layer << " ranks " << c.ranks
                << ": median " << e.median << " p99 " << e.p99 << " of " << e.judged << " tokens\n";
      EXPECT_LE(e.median, kMedian) << c.model << " layer " << layer;
      EXPECT_LE(e.p99, kP99) << c.model << " layer " << layer;
      EXPECT_GE(e.judged, kJudgedAtLeast * golden.ids.size()) << c.model << " layer " << layer;
      ++judged;
    }
    EXPECT_EQ(judged, c.layers) << c.model;
  }
};

TEST_P(LayerTest, TrainedLayersMatchTheReference) {
  ExpectLayers({.model = "tiny", .golden = "tiny", .layers = 6});
}

TEST_P(LayerTest, RandomLayersOfEveryKindMatchTheReference) {
  ExpectLayers({.model = "random-a", .golden = "random_a", .layers = 3});
}

TEST_P(LayerTest, LayersOfOddSizesMatchTheReference) {
  ExpectLayers({.model = "random-b", .golden = "random_b", .layers = 2});
}

TEST_P(LayerTest, LayersInAnotherOrderMatchTheReference) {
  ExpectLayers({.model = "random-c", .golden = "random_c", .layers = 5});
}

TEST_P(LayerTest, TrainedLayersOfRanksMatchTheReference) {
  for (const int ranks : {2, 4}) {
    ExpectLayers({.model = "tiny", .golden = "tiny", .layers = 6, .ranks = ranks});
  }
}

TEST_P(LayerTest, RandomLayersOfRanksMatchTheReference) {
  ExpectLayers({.model = "random-a", .golden = "random_a", .layers = 3, .ranks = 2});
}

INSTANTIATE_TEST_SUITE_P(Tables, LayerTest,
                         ::testing::Values(&kernels::kCpuKernels, &kernels::kCpuReferenceKernels),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace
}  // namespace tandem
