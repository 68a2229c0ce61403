// SPDX-License-Identifier: Apache-2.0
// Goal: the engine on a GPU is the engine: the goldens within the design's tolerances, draws as the
// CPU makes them from the same logits, a sequence that goes on in another pool, or beside others,
// as it would have alone, and rows that are there when they are told of. Method: tiny-v4 and
// random-a on GPU 0, against goldens, against the CPU table and against itself. Runs where there is
// a GPU; needs the source folder.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/select.h"
#include "services/runtime/base/bounded_queue.h"
#include "services/runtime/base/check.h"
#include "services/runtime/engine/model_engine.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {
namespace {

const kernels::KernelSet& GpuKernels() {
  static const auto& kernels = *[] {
    static kernels::Gpu& gpu = *new kernels::Gpu(kernels::SelectGpu(0));
    if (gpu.backend == nullptr) CheckFailed(__FILE__, __LINE__, gpu.why);
    return new kernels::KernelSet(*gpu.table, *gpu.backend);
  }();
  return kernels;
}

void ExpectGoldens(const std::string& name, const std::vector<GoldenCase>& cases,
                   const Tolerance& tolerance, int chunk) {
  const LoadedModel& loaded = ModelNamed(name, GpuKernels());
  const auto model = MakeModel(loaded, GpuKernels());
  Pool pool(loaded.config(), {.pages = 4, .slots = 1}, GpuKernels().backend);
  for (const GoldenCase& c : cases) {
    ExpectGolden(c, RunTokens(*model, pool, {.tokens = PromptAndAnswer(c), .chunk = chunk}),
                 tolerance);
  }
}

TEST(CudaGoldenTest, TheTrainedModelSpeaksAsReleased) {
  ExpectGoldens("tiny", LoadGolden("golden_tiny.json"), kTrained, 1 << 20);
}

TEST(CudaGoldenTest, TheTrainedModelSpeaksAsReleasedInSmallChunks) {
  ExpectGoldens("tiny", LoadGolden("golden_tiny.json"), kTrained, 37);
}

TEST(CudaGoldenTest, TheTrainedModelSpeaksAsReleasedTokenByToken) {
  ExpectGoldens("tiny", LoadGolden("golden_tiny.json"), kTrained, 1);
}

TEST(CudaGoldenTest, ARandomModelStaysNearTheReleasedCode) {
  if (!std::filesystem::exists(TANDEM_GOLDEN_DIR "/random-a/config.json")) GTEST_FAIL();
  ExpectGoldens("random-a", LoadGolden("golden_random_a.json", 200), kRandom, 1 << 20);
}

// A sequence that is read and written by the engine's steps.
struct Story {
  std::vector<int32_t> prompt;
  Place place;
  Sampler sampler;
  std::vector<TokenChoice> answer;
};

class CudaEngineTest : public ::testing::Test {
 protected:
  static constexpr int kSequences = 16;
  static constexpr KvLayout::Size kSize{.pages = 2 * kSequences, .slots = kSequences};

  static std::unique_ptr<ModelEngine> MakeEngine(const kernels::KernelSet& kernels,
                                                 bool record = true) {
    const LoadedModel& loaded = ModelNamed("tiny", kernels);
    auto engine = ModelEngine::Create(
        {.config = loaded.config(),
         .weights = loaded.weights(),
         .kernels = kernels,
         .record = record},
        {.max_tokens_per_step = 1024, .max_chunks_per_step = 64, .max_positions = 512});
    CHECK(engine.ok());
    return *std::move(engine);
  }

  // Golden prompts over and over, each with a spec of its own; from slot `first` on.
  static std::vector<Story> Stories(int count, const std::vector<SamplerSpec>& specs) {
    const std::vector<GoldenCase> cases = LoadGolden("golden_tiny.json", 120);
    std::vector<Story> out;
    for (int i = 0; i < count; ++i) {
      const std::vector<int32_t>& prompt = cases[i % cases.size()].prompt;
      out.push_back({.prompt = prompt,
                     .place = {.slot = i, .pages = {2 * i, 2 * i + 1}},
                     .sampler = Sampler(specs[i % specs.size()], prompt),
                     .answer = {}});
    }
    return out;
  }

  static void Accept(Story& story, TokenChoice choice) {
    story.sampler.Accept(choice.id);
    story.answer.push_back(std::move(choice));
  }

  // Reads the prompts, all in one step, and draws the first tokens.
  static void Read(ModelEngine& engine, Pool& pool, std::vector<Story>& stories) {
    std::vector<EngineChunk> chunks;
    for (const Story& s : stories) {
      chunks.push_back({.tokens = s.prompt,
                        .slot = s.place.slot,
                        .pages = s.place.pages,
                        .sampler = &s.sampler});
    }
    std::vector<ChunkResult> results = engine.Step(chunks, pool.view());
    for (size_t i = 0; i < stories.size(); ++i) Accept(stories[i], std::move(results[i].choice));
  }

  static void Write(ModelEngine& engine, Pool& pool, std::vector<Story>& stories, int steps) {
    for (int step = 0; step < steps; ++step) {
      std::vector<EngineChunk> chunks;
      for (const Story& s : stories) {
        chunks.push_back({.tokens = {&s.answer.back().id, 1},
                          .start = static_cast<int64_t>(s.prompt.size() + s.answer.size()) - 1,
                          .slot = s.place.slot,
                          .pages = s.place.pages,
                          .sampler = &s.sampler});
      }
      std::vector<ChunkResult> results = engine.Step(chunks, pool.view());
      for (size_t i = 0; i < stories.size(); ++i) Accept(stories[i], std::move(results[i].choice));
    }
  }

  static std::vector<int32_t> Ids(const Story& story) {
    std::vector<int32_t> out;
    for (const TokenChoice& choice : story.answer) out.push_back(choice.id);
    return out;
  }
};

TEST_F(CudaEngineTest, ManyStreamsEqualTheirSingleRunsGreedyAndSeeded) {
  const auto engine = MakeEngine(GpuKernels());
  const std::vector<SamplerSpec> specs = {
      {.temperature = 0, .logprobs = 3},
      {.temperature = 0.8F, .top_p = 0.9F, .seed = 11},
      {.temperature = 1, .top_k = 20, .min_p = 0.02F, .seed = 12, .logprobs = 5},
      {.temperature = 0.7F, .seed = 13, .repetition_penalty = 1.2F, .frequency_penalty = 0.3F}};
  Pool pool(engine->config(), kSize, GpuKernels().backend);
  std::vector<Story> together = Stories(kSequences, specs);
  Read(*engine, pool, together);
  Write(*engine, pool, together, 24);
  for (int i = 0; i < kSequences; ++i) {
    std::vector<Story> alone = {Stories(kSequences, specs)[i]};
    Pool own(engine->config(), kSize, GpuKernels().backend);
    Read(*engine, own, alone);
    Write(*engine, own, alone, 24);
    EXPECT_EQ(Ids(alone[0]), Ids(together[i])) << i;
  }
}

TEST_F(CudaEngineTest, DrawsAsTheCpuEngineDoes) {
  const std::vector<SamplerSpec> specs = {
      {.temperature = 0, .logprobs = 4},
      {.temperature = 0.6F, .seed = 21, .logprobs = 4},
      {.temperature = 0.6F, .top_p = 0.8F, .top_k = 30, .seed = 22, .logprobs = 4},
      {.temperature = 0, .repetition_penalty = 1.3F, .presence_penalty = 0.2F, .logprobs = 4}};
  const auto gpu = MakeEngine(GpuKernels()), cpu = MakeEngine(kernels::kCpuKernels);
  Pool gpu_pool(gpu->config(), kSize, GpuKernels().backend), cpu_pool(cpu->config(), kSize);
  std::vector<Story> on_gpu = Stories(8, specs), on_cpu = Stories(8, specs);
  Read(*gpu, gpu_pool, on_gpu), Read(*cpu, cpu_pool, on_cpu);
  Write(*gpu, gpu_pool, on_gpu, 16), Write(*cpu, cpu_pool, on_cpu, 16);
  int equal = 0;
  double worst = 0;
  for (size_t i = 0; i < on_gpu.size(); ++i) {
    for (size_t t = 0; t < on_gpu[i].answer.size(); ++t) {
      const TokenChoice &ours = on_gpu[i].answer[t], &theirs = on_cpu[i].answer[t];
      if (ours.id != theirs.id) {
        std::cout << "story " << i << " token " << t << ": " << ours.id << " for " << theirs.id
                  << ", log-probabilities " << ours.logprob << " and " << theirs.logprob << "\n";
        break;  // From here on they tell different stories.
      }
      ++equal;
      worst = std::max<double>(worst, std::abs(ours.logprob - theirs.logprob));
      ASSERT_EQ(ours.top.size(), 4U);
      EXPECT_NEAR(ours.top[0].logprob, theirs.top[0].logprob, 0.1);
    }
  }
  std::cout << equal << " of " << 8 * 17 << " tokens equal, log-probabilities off by " << worst
            << " at worst\n";
  EXPECT_LE(worst, 0.1);
  EXPECT_GE(equal, 8 * 17 * 9 / 10);
}

TEST_F(CudaEngineTest, PromptLogProbabilitiesAreTheGoldens) {
  const auto engine = MakeEngine(GpuKernels());
  Pool pool(engine->config(), kSize, GpuKernels().backend);
  for (const GoldenCase& c : LoadGolden("golden_tiny.json", 400)) {
    const std::vector<int32_t> pages = {0, 1};
    const std::vector<ChunkResult> results = engine->Step(
        {{.tokens = c.prompt, .pages = pages, .targets = absl::MakeConstSpan(c.prompt).subspan(1)}},
        pool.view());
    ASSERT_EQ(results[0].target_logprobs.size(), c.prompt_logprob.size());
    double mean = 0, worst = 0;
    for (size_t i = 0; i < c.prompt_logprob.size(); ++i) {
      const double off = std::abs(results[0].target_logprobs[i] - c.prompt_logprob[i]);
      mean += off / static_cast<double>(c.prompt_logprob.size());
      if (!(off <= worst)) worst = off;
    }
    EXPECT_LE(mean, kTrained.mean) << c.name;
    EXPECT_LE(worst, kTrained.worst) << c.name;
  }
}

// Everything live of a sequence, from one pool to another, by way of the host.
void HandOver(const KvStorage& from, const Place& here, const KvStorage& to, const Place& there,
              int64_t tokens) {
  const auto source = from.layout().Extents({.slot = here.slot, .pages = here.pages}, tokens);
  const auto target = to.layout().Extents({.slot = there.slot, .pages = there.pages}, tokens);
  ASSERT_EQ(source.size(), target.size());
  for (size_t i = 0; i < source.size(); ++i) {
    std::string bytes(source[i].bytes, '\0');
    from.Read(source[i].offset, absl::MakeSpan(bytes));
    to.Write(target[i].offset, bytes);
  }
}

TEST_F(CudaEngineTest, AnotherPoolGoesOnWithWhatWasHandedOver) {
  const auto engine = MakeEngine(GpuKernels()), cpu = MakeEngine(kernels::kCpuKernels);
  for (int i = 0; i < 4; ++i) {
    std::vector<Story> stay = {Stories(4, {{.temperature = 0}})[i]};
    Pool pool(engine->config(), kSize, GpuKernels().backend);
    Read(*engine, pool, stay);
    std::vector<Story> move = stay, read_on_cpu = {Stories(4, {{.temperature = 0}})[i]};
    Pool other(engine->config(), {.pages = 9, .slots = 3}, GpuKernels().backend);
    move[0].place = {.slot = 2, .pages = {7, 3}};
    const auto tokens = static_cast<int64_t>(stay[0].prompt.size());
    HandOver(pool.storage(), stay[0].place, other.storage(), move[0].place, tokens);
    Write(*engine, pool, stay, 24);
    Write(*engine, other, move, 24);
    EXPECT_EQ(Ids(stay[0]), Ids(move[0]));

    // A CPU reads the prompt, the GPU goes on.
    Pool host(cpu->config(), kSize);
    Read(*cpu, host, read_on_cpu);
    HandOver(host.storage(), read_on_cpu[0].place, other.storage(), move[0].place, tokens);
    read_on_cpu[0].place = move[0].place;
    Write(*engine, other, read_on_cpu, 24);
    EXPECT_EQ(Ids(stay[0]), Ids(read_on_cpu[0]));
  }
}

// Sequences of different ends: batches of many sizes, and lists of several lengths.
TEST_F(CudaEngineTest, ReplayedStepsAreTheStepsThemselves) {
  const std::vector<SamplerSpec> specs = {{.temperature = 0, .logprobs = 2},
                                          {.temperature = 0.9F, .top_p = 0.95F, .seed = 31}};
  std::vector<std::vector<Story>> told;
  for (const bool record : {true, false}) {
    const auto engine = MakeEngine(GpuKernels(), record);
    Pool pool(engine->config(), kSize, GpuKernels().backend);
    std::vector<Story> stories = Stories(kSequences, specs);
    Read(*engine, pool, stories);
    int64_t replayed = 0;
    told.emplace_back();
    while (!stories.empty()) {
      for (int step = 0; step < 13; ++step) {
        Write(*engine, pool, stories, 1);
        replayed += static_cast<int64_t>(engine->launches() > 0);
      }
      told.back().push_back(stories.back());
      stories.pop_back();
    }
    // Of each shape the first step runs plainly.
    EXPECT_EQ(replayed > kSequences * 13 * 7 / 10, record) << replayed;
  }
  for (int i = 0; i < kSequences; ++i) {
    const Story &replayed = told[0][i], &plain = told[1][i];
    EXPECT_EQ(Ids(replayed), Ids(plain)) << i;
    for (size_t t = 0; t < plain.answer.size(); ++t) {
      EXPECT_EQ(replayed.answer[t].logprob, plain.answer[t].logprob) << i << " " << t;
    }
  }
}

TEST_F(CudaEngineTest, ReplayedChunksAreTheChunksThemselves) {
  for (const int size : {1, 2, 17, 64}) {
    const auto replays = MakeEngine(GpuKernels()), queues = MakeEngine(GpuKernels(), false);
    Pool pool(replays->config(), kSize, GpuKernels().backend);
    Pool other(replays->config(), kSize, GpuKernels().backend);
    std::vector<int32_t> prompt(2 * size);
    std::iota(prompt.begin(), prompt.end(), 5);
    const Sampler sampler({.temperature = 0, .logprobs = 3}, {});
    const std::vector<int32_t> pages = {0};
    const auto read = [&](Engine& engine, const KvView& kv) {
      const auto both = absl::MakeConstSpan(prompt);
      engine.Step({{.tokens = both.first(size), .pages = pages}}, kv);
      return engine.Step(
          {{.tokens = both.last(size), .start = size, .pages = pages, .sampler = &sampler}}, kv);
    };
    const TokenChoice plain = read(*queues, other.view())[0].choice;
    for (int i = 0; i < 4; ++i) {
      const TokenChoice choice = read(*replays, pool.view())[0].choice;
      EXPECT_EQ(choice.id, plain.id) << size << " " << i;
      EXPECT_EQ(choice.logprob, plain.logprob) << size << " " << i;
      EXPECT_EQ(replays->launches() > 0, i > 0) << size << " " << i;
    }
    EXPECT_EQ(queues->launches(), 0);
  }
}

// Read while the step goes on, they are what they are at its end.
TEST_F(CudaEngineTest, RowsOfLayersAreThereWhenTheyAreToldOf) {
  const auto engine = MakeEngine(GpuKernels());
  const int all = engine->config().num_hidden_layers;
  Pool pool(engine->config(), kSize, GpuKernels().backend);
  const std::vector<int32_t> pages = {4, 2};
  const auto rows_of = [&](int layers) {
    std::string rows;
    for (const KvExtent& extent :
         pool.layout().Extents({.slot = 3, .pages = pages},
                               {.tokens = 500, .layers = {.begin = layers - 1, .end = layers}})) {
      std::string bytes(extent.bytes, '\0');
      pool.storage().Read(extent.offset, absl::MakeSpan(bytes));
      rows += bytes;
    }
    return rows;
  };
  for (int step = 0; step < 20; ++step) {
    const std::vector<int32_t> tokens(500, 7 + step);
    BoundedQueue<int> told(/*capacity=*/1);
    const EngineChunk chunk = {.tokens = tokens, .slot = 3, .pages = pages};
    engine->Launch(
        {&chunk, 1}, pool.view(),
        {.done = [] {}, .layers = [&told](int layers) { told.PushAlways(int{layers}); }});
    std::vector<int> heard;
    std::vector<std::string> seen;
    while (heard.size() < static_cast<size_t>(all)) {
      const std::vector<int> news = told.PopAll(absl::Seconds(60));
      ASSERT_FALSE(news.empty());
      for (const int layers : news) {
        heard.push_back(layers);
        seen.push_back(rows_of(layers));
      }
    }
    (void)engine->Collect();
    for (int layers = 1; layers <= all; ++layers) {
      EXPECT_EQ(heard[layers - 1], layers);  // of six layers each is a group
      EXPECT_TRUE(seen[layers - 1] == rows_of(layers)) << layers;
    }
  }
}

TEST_F(CudaEngineTest, StepTimes) {
  for (const bool record : {false, true}) {
    const auto engine = MakeEngine(GpuKernels(), record);
    Pool pool(engine->config(), kSize, GpuKernels().backend);
    for (const int batch : {1, 4, 16}) {
      std::vector<Story> stories = Stories(batch, {{.temperature = 0}});
      Read(*engine, pool, stories);
      Write(*engine, pool, stories, 8);
      const auto begin = std::chrono::steady_clock::now();
      Write(*engine, pool, stories, 64);
      const std::chrono::duration<double, std::micro> spent =
          std::chrono::steady_clock::now() - begin;
      std::cout << "decode step, batch " << batch << ": " << spent.count() / 64 << " us, "
                << engine->launches() << " launches replayed\n";
    }
    for (const int size : {1, 16, 64}) {
      const std::vector<int32_t> prompt(size, 5), pages = {0};
      const Sampler sampler({.temperature = 0}, prompt);
      const EngineChunk chunk = {.tokens = prompt, .pages = pages, .sampler = &sampler};
      for (int i = 0; i < 4; ++i) engine->Step({chunk}, pool.view());
      const auto begin = std::chrono::steady_clock::now();
      for (int i = 0; i < 64; ++i) engine->Step({chunk}, pool.view());
      const std::chrono::duration<double, std::micro> spent =
          std::chrono::steady_clock::now() - begin;
      std::cout << "prompt of " << size << ": " << spent.count() / 64 << " us, "
                << engine->launches() << " launches replayed\n";
    }
  }
}

}  // namespace
}  // namespace tandem
