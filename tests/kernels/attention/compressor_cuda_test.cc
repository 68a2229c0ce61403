// SPDX-License-Identifier: Apache-2.0
// Goal: pooled rows and the state behind them on a device. Method: several sequences in random
// steps of random lengths, some slots masked, from garbage; after every step the state is the
// reference's bit for bit, and the rows are but for roundings (at most 1 in 200 values, by one step
// of the format); the same tokens in any other steps give the same bits; pages that no row is in
// stay as they are.
#include <algorithm>
#include <numeric>

#include "kernels/attention/compressor.h"
#include "kernels/rope/rope_table.h"
#include "tests/kernels/attention/device_sequences.h"
#include "tests/kernels/attention/sequences.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

struct Kind {
  int64_t ratio;
  int64_t dim;
};
constexpr Kind kKinds[] = {{4, 512}, {128, 512}, {4, 128}};
constexpr int kSequences = 5;
constexpr int64_t kPagesEach = 4;  // 1,024 tokens

// Weights, tokens of all sequences, state and pool, twice: host and device.
struct World {
  World(const Kind& kind, int64_t tokens, Random& random)
      : kind(kind),
        width(kind.ratio == 4 ? 2 * kind.dim : kind.dim),
        u(kSequences * tokens, width),
        g(kSequences * tokens, width),
        ape(kind.ratio, width),
        norm(kind.dim),
        frequencies(32),
        state(kSequences + 1, 2, kind.ratio == 4 ? 8 : 128, width),
        pool(kSequences * kPagesEach * PageBytes()),
        tokens(tokens) {
    random.Fill(u);
    random.Fill(g, 2);
    random.Fill(ape);
    random.Fill(norm);
    RopeFrequencies({.base = 160000,
                     .factor = 16,
                     .original_positions = 65536,
                     .beta_fast = 32,
                     .beta_slow = 1},
                    frequencies);
    state.Poison();
    pool.Poison();
    pages.resize(kSequences * kPagesEach);
    std::iota(pages.begin(), pages.end(), 0);
    for (size_t i = pages.size() - 1; i > 0; --i) {
      std::swap(pages[i], pages[random.Below(static_cast<int64_t>(i) + 1)]);
    }
  }
  int64_t PageBytes() const {
    return kind.dim == 128 ? kIndexPageBytes : KvPageBytes(256 / kind.ratio);
  }
  // Which tokens of which sequences make a step: (sequence, first, n).
  struct Part {
    int sequence, first, n;
    bool masked = false;
  };

  Kind kind;
  int64_t width;
  Tensor<float, 2> u, g, ape;
  Tensor<Bf16, 1> norm;
  Tensor<float, 1> frequencies;
  Tensor<float, 4> state;
  Tensor<uint8_t, 1> pool;
  int64_t tokens;
  std::vector<int32_t> pages;
};

class CompressorCudaTest : public OnDevice {
 protected:
  // The device's side of a world.
  struct Sides {
    explicit Sides(World& world)
        : world(world),
          ape(world.ape),
          norm(world.norm),
          frequencies(world.frequencies),
          state(world.state),
          pool(world.pool) {}
    World& world;
    DeviceTensor<float, 2> ape;
    DeviceTensor<Bf16, 1> norm;
    DeviceTensor<float, 1> frequencies;
    DeviceTensor<float, 4> state;
    DeviceTensor<uint8_t, 1> pool;
  };

  static void SetRows(CompressorArgs* args, const Kind& kind, uint8_t* base) {
    if (kind.dim == 128) {
      args->indexer_rows = {.base = base, .pages = kSequences * kPagesEach};
    } else {
      args->kv_rows = {
          .base = base, .pages = kSequences * kPagesEach, .rows_per_page = 256 / kind.ratio};
    }
  }

  // One step on the device and, if `on_host`, by the reference.
  void Step(Sides& sides, const std::vector<World::Part>& parts, bool on_host) {
    World& w = sides.world;
    std::vector<Sequence> list;
    int64_t n = 0;
    for (const auto& part : parts) n += part.n;
    Tensor<float, 2> u(n, w.width), g(n, w.width);
    int64_t at = 0;
    for (const auto& part : parts) {
      const auto first = w.pages.begin() + part.sequence * kPagesEach;
      list.push_back({.slot = part.masked ? -1 : part.sequence,
                      .first = part.first,
                      .tokens = part.n,
                      .pages = {first, first + kPagesEach}});
      const int64_t from = (part.sequence * w.tokens + part.first) * w.width;
      std::copy_n(w.u.values.begin() + from, part.n * w.width, u.values.begin() + at);
      std::copy_n(w.g.values.begin() + from, part.n * w.width, g.values.begin() + at);
      at += part.n * w.width;
    }
    const Sequences host_batch(list);
    const DeviceSequences batch(host_batch.batch);
    const DeviceTensor du(u), dg(g);
    CompressorArgs args{.u = du,
                        .g = dg,
                        .ape = sides.ape,
                        .norm = sides.norm,
                        .norm_eps = 1e-6f,
                        .frequencies = sides.frequencies,
                        .batch = batch.batch,
                        .state = sides.state};
    SetRows(&args, w.kind, sides.pool.view().data);
    cuda.compressor(args, stream);
    Wait();
    if (!on_host) return;
    args = {.u = u,
            .g = g,
            .ape = w.ape,
            .norm = w.norm,
            .norm_eps = 1e-6f,
            .frequencies = w.frequencies,
            .batch = host_batch.batch,
            .state = w.state};
    SetRows(&args, w.kind, w.pool.values.data());
    reference.compressor(args, host);
  }

  void ExpectEqual(const Sides& sides) {
    const World& w = sides.world;
    ASSERT_EQ(std::memcmp(sides.state.Fetch().values.data(), w.state.values.data(),
                          4 * w.state.values.size()),
              0);
    const auto pool = sides.pool.Fetch();
    const int64_t rows = kSequences * kPagesEach * 256 / w.kind.ratio;
    std::vector<float> expected(w.kind.dim), actual(w.kind.dim);
    int64_t flipped = 0;
    for (int64_t row = 0; row < rows; ++row) {
      Read(w, w.pool.values, row, expected.data());
      Read(w, pool.values, row, actual.data());
      for (int64_t j = 0; j < w.kind.dim; ++j) {
        if (std::memcmp(&actual[j], &expected[j], 4) == 0) continue;
        ++flipped;
        const double step = w.kind.dim == 128 ? 1 : 0.125;  // E2M1: from 0.5 to 0
        ASSERT_NEAR(actual[j], expected[j], step * std::max(std::abs(expected[j]), 0.25f))
            << row << " " << j;
      }
    }
    EXPECT_LE(flipped * 200, rows * w.kind.dim);
  }
  static void Read(const World& w, const std::vector<uint8_t>& pool, int64_t row, float* values) {
    const int64_t pages = kSequences * kPagesEach;
    if (w.kind.dim == 128) {
      ReadIndexerRow({.base = pool.data(), .pages = pages}, row, values);
    } else {
      ReadKvRow({.base = pool.data(), .pages = pages, .rows_per_page = 256 / w.kind.ratio}, row,
                values);
    }
  }
};

TEST_F(CompressorCudaTest, EqualsTheReferenceStepByStep) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const Kind& kind : kKinds) {
    SCOPED_TRACE(testing::Message() << "ratio " << kind.ratio << " d " << kind.dim);
    World world(kind, 700, random);
    Sides sides(world);
    int at[kSequences] = {};
    for (int step = 0; step < 14; ++step) {
      std::vector<World::Part> parts;
      for (int s = 0; s < kSequences; ++s) {
        if (random.Below(4) == 0) continue;
        const int64_t most = step % 3 == 0 ? 1 : random.Below(3) == 0 ? 9 : 160;
        const int n =
            static_cast<int>(std::min<int64_t>(1 + random.Below(most), world.tokens - at[s]));
        if (n <= 0) continue;
        parts.push_back({.sequence = s, .first = at[s], .n = n});
        at[s] += n;
      }
      if (parts.empty()) continue;
      Step(sides, parts, /*on_host=*/true);
    }
    ExpectEqual(sides);
    // A new sequence in a used slot.
    Step(sides, {{.sequence = 2, .first = 0, .n = 3}, {.sequence = 4, .first = 0, .n = 1}}, true);
    ExpectEqual(sides);
  }
}

TEST_F(CompressorCudaTest, AnySplitGivesTheSameBits) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const Kind& kind : kKinds) {
    World world(kind, 523, random);
    Sides whole(world), ragged(world), masked(world);
    std::vector<World::Part> all;
    for (int s = 0; s < kSequences; ++s) all.push_back({.sequence = s, .first = 0, .n = 523});
    Step(whole, all, false);
    for (int s = 0; s < kSequences; ++s) {
      for (int first = 0, n; first < 523; first += n) {
        n = static_cast<int>(std::min<int64_t>(523 - first, 1 + random.Below(s == 0 ? 6 : 260)));
        Step(ragged, {{.sequence = s, .first = first, .n = n}}, false);
      }
    }
    ASSERT_TRUE(whole.pool.Fetch().values == ragged.pool.Fetch().values);
    const auto a = whole.state.Fetch().values, b = ragged.state.Fetch().values;
    ASSERT_EQ(std::memcmp(a.data(), b.data(), 4 * a.size()), 0);
    for (auto& part : all) part.masked = true;
    Step(masked, all, false);
    EXPECT_TRUE(masked.pool.Fetch().values == world.pool.values);
  }
}

}  // namespace
}  // namespace tandem::kernels
