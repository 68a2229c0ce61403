// SPDX-License-Identifier: Apache-2.0
// Goal: the hyper-connections at Flash's sizes, and at Pro's for one token. Method: bench.h.
#include <cuda_runtime_api.h>

#include <random>

#include "kernels/kernel_table.h"
#include "tests/bench/kernels/cuda/inputs.h"

namespace tandem::kernels {
namespace {

constexpr int64_t kM = 4, kMixes = 24;
constexpr double kBar = 6;  // µs at one token

// Device memory of so many sets.
struct Sets {
  Sets(int64_t sets, int64_t t, int64_t d) : t(t), d(d) {
    streams = Make<Bf16>(sets * t * kM * d);
    y = Make<Bf16>(sets * t * d);
    x = Make<Bf16>(sets * t * d);
    q = Make<E4M3>(sets * t * d);
    q_scale = Make<Ue8m0>(sets * t * d / 128);
    fn = Make<float>(sets * kMixes * kM * d);
    base = Make<float>(kMixes);
    FillBase();
    scale = Make<float>(4);
    norm = Make<Bf16>(d);
    post = Make<float>(sets * t * kM);
    comb = Make<float>(sets * t * kM * kM);
  }
  template <typename T>
  static T* Make(int64_t n) {
    return reinterpret_cast<T*>(RandomBytes(n * static_cast<int64_t>(sizeof(T)), 7));
  }
  // Logits so far apart that Sinkhorn goes on changing to its last step: the dearest case.
  void FillBase() const {
    std::mt19937 engine(3);
    std::normal_distribution<float> normal(0, 4);
    std::vector<float> values(kMixes);
    for (float& v : values) v = normal(engine);
    (void)cudaMemcpy(base, values.data(), 4 * kMixes, cudaMemcpyHostToDevice);
  }
  HcPreNormQuantArgs Fused(int64_t set) const {
    return {.streams = {streams + set * t * kM * d, {t, kM, d}},
            .fn = {fn + set * kMixes * kM * d, {kMixes, kM * d}},
            .base = {base, {kMixes}},
            .scale = {scale, {3}},
            .norm = {norm, {d}},
            .norm_eps = 1e-6f,
            .hc_eps = 1e-6f,
            .iterations = 20,
            .x = {x + set * t * d, {t, d}},
            .q = {q + set * t * d, {t, d}},
            .q_scale = {q_scale + set * t * d / 128, {t, d / 128}},
            .post = {post + set * t * kM, {t, kM}},
            .comb = {comb + set * t * kM * kM, {t, kM, kM}}};
  }
  HcPostArgs Post(int64_t set) const {
    return {.y = {y + set * t * d, {t, d}},
            .post = {post + set * t * kM, {t, kM}},
            .comb = {comb + set * t * kM * kM, {t, kM, kM}},
            .streams = {streams + set * t * kM * d, {t, kM, d}}};
  }

  int64_t t, d;
  Bf16 *streams, *y, *x, *norm;
  E4M3* q;
  Ue8m0* q_scale;
  float *fn, *base, *scale, *post, *comb;
};

enum class Op { kPre, kPost, kFused, kPostPre };

void Queue(Op op, const Sets& sets, int64_t set, Stream& stream) {
  switch (op) {
    case Op::kPre:
      return kCudaKernels.hc_pre(sets.Fused(set).pre(), stream);
    case Op::kPost:
      return kCudaKernels.hc_post(sets.Post(set), stream);
    case Op::kFused:
      return kCudaKernels.hc_pre_norm_quant(sets.Fused(set), stream);
    case Op::kPostPre:
      return kCudaKernels.hc_post_pre({.post = sets.Post(set), .next = sets.Fused(set)}, stream);
  }
}

BenchCase Hc(Op op, int64_t t, int64_t d) {
  constexpr const char* kNames[] = {"hc_pre", "hc_post", "hc_pre_norm_quant", "hc_post_pre"};
  const bool pre = op != Op::kPost, post = op == Op::kPost || op == Op::kPostPre;
  const int64_t quantised = op == Op::kFused || op == Op::kPostPre ? t * d + t * d / 128 : 0;
  // The streams are read once; hc_post writes them and reads y; hc_pre writes x and reads fn.
  const int64_t bytes = 2 * kM * t * d + (post ? 2 * (kM + 1) * t * d : 0) +
                        (pre ? 2 * t * d + 4 * kMixes * kM * d : 0) + quantised;
  return {.name = std::string(kNames[static_cast<int>(op)]) + " D=" + std::to_string(d),
          .tokens = t,
          .bytes = bytes,
          .flop = (pre ? 2 * kMixes * kM * t * d : 0) + (post ? 2 * kM * (kM + 1) * t * d : 0),
          .bar_us = t == 1 ? kBar : 0,
          .make = [=](int64_t count) {
            const Sets sets(count, t, d);
            return [=](int64_t set, Stream& stream) { Queue(op, sets, set, stream); };
          }};
}

BenchCase HcEmbed(int64_t t, int64_t d) {
  constexpr int64_t kVocabulary = 129280;
  return {.name = "hc_embed D=" + std::to_string(d),
          .tokens = t,
          .bytes = 2 * d * t * (1 + kM),
          .make = [=](int64_t sets) {
            std::vector<int32_t> ids;
            for (int64_t i = 0; i < sets * t; ++i) {
              ids.push_back(static_cast<int32_t>(i * 2654435761 % kVocabulary));
            }
            const int32_t* tokens = Upload(ids);
            const auto* embed = Sets::Make<Bf16>(kVocabulary * d);
            auto* streams = Sets::Make<Bf16>(sets * t * kM * d);
            return [=](int64_t set, Stream& stream) {
              kCudaKernels.hc_embed({.tokens = {tokens + set * t, {t}},
                                     .embed = {embed, {kVocabulary, d}},
                                     .streams = {streams + set * t * kM * d, {t, kM, d}}},
                                    stream);
            };
          }};
}

BenchCase HcHead(int64_t t, int64_t d) {
  return {.name = "hc_head D=" + std::to_string(d),
          .tokens = t,
          .bytes = 2 * d * t * (1 + kM) + 4 * kM * kM * d,
          .flop = 2 * kM * kM * d * t,
          .make = [=](int64_t count) {
            const Sets sets(count, t, d);
            return [=](int64_t set, Stream& stream) {
              const HcPreNormQuantArgs a = sets.Fused(set);
              kCudaKernels.hc_head({.streams = a.streams,
                                    .fn = {a.fn.data, {kM, kM * d}},
                                    .base = {a.base.data, {kM}},
                                    .scale = {a.scale.data, {1}},
                                    .norm_eps = a.norm_eps,
                                    .hc_eps = a.hc_eps,
                                    .x = a.x},
                                   stream);
            };
          }};
}

const Cases kEnds("hc_ends", [] {
  std::vector<BenchCase> cases;
  for (const int64_t tokens : {1, 64, 4096}) cases.push_back(HcEmbed(tokens, 4096));
  for (const int64_t tokens : {1, 64}) cases.push_back(HcHead(tokens, 4096));
  return cases;
});

const Cases kHc("hc", [] {
  std::vector<BenchCase> cases;
  for (const Op op : {Op::kPre, Op::kPost, Op::kFused, Op::kPostPre}) {
    for (const int64_t tokens : {1, 2, 4, 8, 16, 64, 256, 1024, 4096}) {
      cases.push_back(Hc(op, tokens, 4096));
    }
    cases.push_back(Hc(op, 1, 7168));
  }
  return cases;
});

}  // namespace
}  // namespace tandem::kernels
