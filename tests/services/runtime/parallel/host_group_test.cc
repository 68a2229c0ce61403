// SPDX-License-Identifier: Apache-2.0
// Goal: ranks in host memory sum as all_reduce is defined, with what follows it, and none hangs.
// Method: threads with random parts, against the sum and the table's own operations, to the bit;
// then ranks that stay away or fail.
#include "services/runtime/parallel/host_group.h"

#include <functional>
#include <memory>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"

namespace tandem {
namespace {

using kernels::Bf16;
using kernels::kCpuKernels;
using ::testing::HasSubstr;

constexpr int64_t kDim = 256, kStreams = 4;

std::vector<float> Floats(int64_t size, std::mt19937& engine) {
  std::normal_distribution<float> normal;
  std::vector<float> out(static_cast<size_t>(size));
  for (float& value : out) value = normal(engine);
  return out;
}
std::vector<Bf16> Bf16s(int64_t size, std::mt19937& engine) {
  std::vector<Bf16> out;
  for (const float value : Floats(size, engine)) out.push_back(kernels::ToBf16(value));
  return out;
}
std::vector<uint16_t> BitsOf(const std::vector<Bf16>& values) {
  std::vector<uint16_t> out;
  for (const Bf16 value : values) out.push_back(value.bits);
  return out;
}

void OnEveryRank(int ranks, const std::function<void(int, kernels::Stream&)>& body) {
  std::vector<std::unique_ptr<Thread>> threads;
  for (int r = 0; r < ranks; ++r) {
    threads.push_back(std::make_unique<Thread>(absl::StrCat("rank-", r), [&body, r] {
      kernels::Stream stream;
      body(r, stream);
    }));
  }
}

// What a sub-layer leaves and the next one takes, of `tokens`.
struct Streams {
  Streams(int64_t tokens, std::mt19937& engine)
      : tokens(tokens),
        streams(Bf16s(tokens * kStreams * kDim, engine)),
        post(Floats(tokens * kStreams, engine)),
        comb(Floats(tokens * kStreams * kStreams, engine)),
        fn(Floats((2 + kStreams) * kStreams * kStreams * kDim, engine)),
        base(Floats((2 + kStreams) * kStreams, engine)),
        scale(Floats(3, engine)),
        norm(Bf16s(kDim, engine)),
        x(static_cast<size_t>(tokens * kDim)),
        q(static_cast<size_t>(tokens * kDim)),
        q_scale(static_cast<size_t>(tokens * kDim / kernels::kActGroup)) {}

  kernels::HcPostArgs Post() {
    return {.post = {post.data(), {tokens, kStreams}},
            .comb = {comb.data(), {tokens, kStreams, kStreams}},
            .streams = {streams.data(), {tokens, kStreams, kDim}}};
  }
  kernels::HcPreNormQuantArgs Next() {
    return {.streams = {streams.data(), {tokens, kStreams, kDim}},
            .fn = {fn.data(), {(2 + kStreams) * kStreams, kStreams * kDim}},
            .base = {base.data(), {(2 + kStreams) * kStreams}},
            .scale = {scale.data(), {3}},
            .norm = {norm.data(), {kDim}},
            .norm_eps = 1e-6F,
            .hc_eps = 1e-6F,
            .iterations = 20,
            .x = {x.data(), {tokens, kDim}},
            .q = {q.data(), {tokens, kDim}},
            .q_scale = {q_scale.data(), {tokens, kDim / kernels::kActGroup}},
            .post = {post.data(), {tokens, kStreams}},
            .comb = {comb.data(), {tokens, kStreams, kStreams}}};
  }

  int64_t tokens;
  std::vector<Bf16> streams;
  std::vector<float> post, comb, fn, base, scale;
  std::vector<Bf16> norm, x;
  std::vector<kernels::E4M3> q;
  std::vector<kernels::Ue8m0> q_scale;
};

TEST(HostGroupTest, SumsAsDefinedAndGoesOnAsTheTableDoes) {
  std::mt19937 engine{std::random_device{}()};
  for (const int ranks : {1, 2, 4, 8}) {
    for (const int64_t tokens : {1, 3, 17}) {
      HostGroup group(kCpuKernels, {.ranks = ranks});
      std::vector<std::vector<Bf16>> parts, sums(ranks);
      for (int r = 0; r < ranks; ++r) parts.push_back(Bf16s(tokens * kDim, engine));
      std::vector<Bf16> sum;
      for (int64_t i = 0; i < tokens * kDim; ++i) {
        float value = 0;
        for (const auto& part : parts) value += kernels::ToFloat(part[i]);
        sum.push_back(kernels::ToBf16(value));
      }
      const Streams before(tokens, engine);
      Streams alone = before;
      kernels::Stream stream;
      kernels::HcPostArgs post = alone.Post();
      post.y = {sum.data(), {tokens, kDim}};
      kCpuKernels.hc_post_pre({.post = post, .next = alone.Next()}, stream);

      std::vector<Streams> after(ranks, before);
      OnEveryRank(ranks, [&](int r, kernels::Stream& own) {
        const kernels::TensorView<Bf16, 2> part = {parts[r].data(), {tokens, kDim}};
        group.rank(r).AllReduce({.x = part, .post = after[r].Post(), .next = after[r].Next()}, own);
        // In place: the next call's parts are there when every rank has read the last one's.
        group.rank(r).AllReduce({.x = part, .y = part}, own);
        EXPECT_TRUE(group.rank(r).Wait(own, absl::Seconds(1)).ok());
      });
      for (int r = 0; r < ranks; ++r) {
        EXPECT_EQ(BitsOf(parts[r]), BitsOf(sum)) << ranks << " " << r;
        EXPECT_EQ(BitsOf(after[r].streams), BitsOf(alone.streams));
        EXPECT_EQ(BitsOf(after[r].x), BitsOf(alone.x));
        EXPECT_EQ(after[r].comb, alone.comb);
      }
    }
  }
}

TEST(HostGroupTest, GathersColumnsInOrderOfRanks) {
  constexpr int64_t kTokens = 3, kColumns = 5;
  for (const int ranks : {1, 2, 8}) {
    HostGroup group(kCpuKernels, {.ranks = ranks});
    std::vector<float> y(static_cast<size_t>(kTokens * kColumns * ranks));
    OnEveryRank(ranks, [&](int r, kernels::Stream& stream) {
      std::vector<float> x(static_cast<size_t>(kTokens * kColumns));
      for (int call = 0; call < 3; ++call) {
        for (size_t i = 0; i < x.size(); ++i)
          x[i] = static_cast<float>(call + 100 * r + 10'000 * i);
        kernels::GatherArgs args = {.x = {x.data(), {kTokens, kColumns}}};
        if (r == 0) args.y = {y.data(), {kTokens, kColumns * ranks}};
        group.rank(r).Gather(args, stream);
      }
    });
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t n = 0; n < kColumns * ranks; ++n) {
        const int64_t rank = n / kColumns, at = t * kColumns + n % kColumns;
        EXPECT_EQ(y[t * kColumns * ranks + n], static_cast<float>(2 + 100 * rank + 10'000 * at));
      }
    }
  }
}

TEST(HostGroupTest, ARankThatStaysAwayIsAnErrorOfTheOthers) {
  HostGroup group(kCpuKernels, {.ranks = 2, .limit = absl::Milliseconds(20)});
  std::vector<Bf16> part(kDim);
  kernels::Stream stream;
  for (int i = 0; i < 3; ++i) {
    group.rank(0).AllReduce({.x = {part.data(), {1, kDim}}, .y = {part.data(), {1, kDim}}}, stream);
  }
  EXPECT_THAT(stream.error(), HasSubstr("in vain for rank 1"));
  EXPECT_EQ(group.rank(0).Wait(stream, absl::Seconds(1)).code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(HostGroupTest, ARankThatFailsEndsTheOthersWait) {
  HostGroup group(kCpuKernels, {.ranks = 2});
  const absl::Time begin = absl::Now();
  OnEveryRank(2, [&](int r, kernels::Stream& stream) {
    if (r == 1) return group.rank(1).Abort();
    std::vector<Bf16> part(kDim);
    group.rank(0).AllReduce({.x = {part.data(), {1, kDim}}, .y = {part.data(), {1, kDim}}}, stream);
    EXPECT_EQ(group.rank(0).Wait(stream, absl::Seconds(1)).message(), "rank 1 has failed");
  });
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
}

}  // namespace
}  // namespace tandem
