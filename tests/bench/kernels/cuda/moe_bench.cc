// SPDX-License-Identifier: Apache-2.0
// Goal: the mixture of experts at Flash's and Pro's shards of TP=2, for the tokens of a decode
// step. Method: bench.h; the bytes are those of the distinct experts of the routes that run.
#include <algorithm>
#include <random>
#include <set>

#include "kernels/gemm/fragment_order.h"
#include "kernels/kernel_table.h"
#include "tests/bench/kernels/cuda/inputs.h"

namespace tandem::kernels {
namespace {

struct Shape {
  const char* name;
  int64_t dim, inner, experts;
};
constexpr Shape kFlash = {"Flash/2", 4096, 1024, 256};
constexpr Shape kPro = {"Pro/2", 7168, 1536, 384};
constexpr int64_t kTopk = 6;

int64_t WeightBytes(WeightFormat format, int64_t n, int64_t k) {
  const int64_t scales = format == WeightFormat::kFp4 ? n * k / 32 : n / 128 * (k / 128);
  return FragmentScaleOffset(format, n, k) + scales;
}
int64_t ExpertBytes(WeightFormat format, const Shape& s) {
  return 2 * WeightBytes(format, s.inner, s.dim) + WeightBytes(format, s.dim, s.inner);
}

// Distinct random experts a token; the same for the same set.
std::vector<int32_t> Route(const Shape& s, int64_t tokens, int64_t set) {
  std::mt19937_64 random(static_cast<uint64_t>(17 * set + tokens));
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < tokens; ++t) {
    std::set<int32_t> mine;
    while (static_cast<int64_t>(mine.size()) < kTopk) {
      mine.insert(static_cast<int32_t>(random() % static_cast<uint64_t>(s.experts)));
    }
    ids.insert(ids.end(), mine.begin(), mine.end());
  }
  return ids;
}

// As many sets as Bench makes of them.
constexpr int64_t kSets = 6;
int64_t MeanBytes(const Shape& s, int64_t tokens) {
  int64_t distinct = 0;
  for (int64_t set = 0; set < kSets; ++set) {
    const std::vector<int32_t> ids = Route(s, tokens, set);
    distinct += static_cast<int64_t>(std::set<int32_t>(ids.begin(), ids.end()).size());
  }
  return distinct * ExpertBytes(WeightFormat::kFp4, s) / kSets +
         ExpertBytes(WeightFormat::kFp8, s) + 4 * tokens * s.dim;
}
int64_t Flop(const Shape& s, int64_t tokens) {
  return 6 * tokens * (kTopk + 1) * s.dim * s.inner;
}

// Experts e = 0 .. count−1 evenly spaced.
std::vector<ExpertWeights> Experts(WeightFormat format, const Shape& s, int64_t count) {
  const auto align = [](int64_t n) { return (n + 255) / 256 * 256; };
  const int64_t up = align(WeightBytes(format, s.inner, s.dim));
  const int64_t down = align(WeightBytes(format, s.dim, s.inner));
  const uint8_t* base = RandomBytes((2 * up + down) * count, 5);
  std::vector<ExpertWeights> experts;
  for (int64_t e = 0; e < count; ++e) {
    const uint8_t* at = base + e * (2 * up + down);
    const LinearWeight w1{
        .format = format, .n = s.inner, .k = s.dim, .bytes = at, .scales = at, .prepared = at};
    LinearWeight w3 = w1, w2 = w1;
    w3.prepared += up;
    w2.prepared += 2 * up;
    std::swap(w2.n, w2.k);
    experts.push_back({w1, w3, w2});
  }
  return experts;
}

// The inputs of all sets. Router rows are random signs, and a token is the sum of its experts'
// rows, so that the router chooses what Route says.
struct Inputs {
  Shape shape;
  int64_t tokens = 0;
  std::vector<ExpertWeights> routed, shared;
  std::vector<LinearWeight> routers;
  std::vector<const Bf16*> x;
  std::vector<const int32_t*> ids;
  std::vector<const int64_t*> tables;
  const float* weight = nullptr;
  const float* bias = nullptr;
  const int32_t* token_ids = nullptr;
  Bf16* y = nullptr;
};

void MakeRouter(Inputs& in, int64_t set) {
  const Shape& s = in.shape;
  std::mt19937_64 random(99);
  std::vector<Bf16> rows(static_cast<size_t>(s.experts * s.dim));
  for (Bf16& v : rows) v = Bf16{static_cast<uint16_t>(random() % 2 == 0 ? 0x3F80 : 0xBF80)};
  const std::vector<int32_t> ids = Route(s, in.tokens, set);
  std::vector<Bf16> x;
  for (int64_t t = 0; t < in.tokens; ++t) {
    for (int64_t d = 0; d < s.dim; ++d) {
      float sum = 0;
      for (int64_t k = 0; k < kTopk; ++k) sum += ToFloat(rows[ids[t * kTopk + k] * s.dim + d]);
      x.push_back(ToBf16(sum));
    }
  }
  in.x.push_back(Upload(x));
  in.ids.push_back(Upload(ids));
  in.tables.push_back(Upload(std::vector<int64_t>(ids.begin(), ids.end())));
  LinearWeight router{.format = WeightFormat::kBf16,
                      .n = s.experts,
                      .k = s.dim,
                      .bytes = reinterpret_cast<const uint8_t*>(rows.data())};
  const int64_t bytes = kCudaKernels.prepared_bytes(router);
  kCudaKernels.prepare_linear(&router, {RandomBytes(bytes, 1), static_cast<size_t>(bytes)});
  in.routers.push_back(router);
}

Inputs MakeInputs(const Shape& s, int64_t tokens, int64_t sets) {
  Inputs in;
  in.shape = s;
  in.tokens = tokens;
  in.routed = Experts(WeightFormat::kFp4, s, s.experts);
  in.shared = Experts(WeightFormat::kFp8, s, sets);
  for (int64_t set = 0; set < sets; ++set) MakeRouter(in, set);
  in.weight = Upload(std::vector<float>(static_cast<size_t>(tokens * kTopk), 0.25f));
  in.bias = Upload(std::vector<float>(static_cast<size_t>(s.experts), 0.0f));
  std::vector<int32_t> token_ids;
  for (int64_t t = 0; t < tokens; ++t) token_ids.push_back(static_cast<int32_t>(t));
  in.token_ids = Upload(token_ids);
  in.y = reinterpret_cast<Bf16*>(RandomBytes(2 * tokens * s.dim, 7));
  return in;
}

BenchCase MoeExperts(const Shape& s, int64_t tokens, double bar) {
  return {.name = std::string("moe_experts ") + s.name,
          .tokens = tokens,
          .bytes = MeanBytes(s, tokens),
          .flop = Flop(s, tokens),
          .set_bytes = int64_t{256} * 1024 * 1024 / kSets + 1,
          .bar = bar,
          .make = [=](int64_t sets) {
            return [=, in = MakeInputs(s, tokens, sets)](int64_t set, Stream& stream) {
              kCudaKernels.moe_experts({.x = {in.x[set], {tokens, s.dim}},
                                        .experts = {in.ids[set], {tokens, kTopk}},
                                        .weight = {in.weight, {tokens, kTopk}},
                                        .routed = {in.routed.data(), {s.experts}},
                                        .shared = in.shared[set],
                                        .limit = 10,
                                        .y = {in.y, {tokens, s.dim}}},
                                       stream);
            };
          }};
}

BenchCase MoeLayer(const Shape& s, int64_t tokens, bool hash, double bar) {
  return {.name = std::string("moe_layer ") + s.name + (hash ? " hash" : " score"),
          .tokens = tokens,
          .bytes = MeanBytes(s, tokens) + 2 * s.experts * s.dim,
          .flop = Flop(s, tokens) + 2 * tokens * s.experts * s.dim,
          .set_bytes = int64_t{256} * 1024 * 1024 / kSets + 1,
          .bar = bar,
          .make = [=](int64_t sets) {
            return [=, in = MakeInputs(s, tokens, sets)](int64_t set, Stream& stream) {
              MoeLayerArgs args{.x = {in.x[set], {tokens, s.dim}},
                                .router = in.routers[set],
                                .bias = {in.bias, {s.experts}},
                                .tokens = {in.token_ids, {tokens}},
                                .topk = kTopk,
                                .routed_scaling_factor = 1.5f,
                                .routed = {in.routed.data(), {s.experts}},
                                .shared = in.shared[set],
                                .limit = 10,
                                .y = {in.y, {tokens, s.dim}}};
              if (hash) args.tid2eid = {in.tables[set], {tokens, kTopk}};
              kCudaKernels.moe_layer(args, stream);
            };
          }};
}

BenchCase GateScore(int64_t tokens) {
  return {.name = "gate_score E=256",
          .tokens = tokens,
          .bytes = tokens * (4 * 256 + 8 * kTopk),
          .make = [=](int64_t sets) {
            std::vector<float> logits;
            std::mt19937_64 random(3);
            for (int64_t i = 0; i < sets * tokens * 256; ++i) {
              logits.push_back(static_cast<float>(random() % 10000) * 1e-3f - 5);
            }
            const float* l = Upload(logits);
            const float* bias = Upload(std::vector<float>(256, 0.5f));
            auto* experts = reinterpret_cast<int32_t*>(RandomBytes(4 * tokens * kTopk, 1));
            auto* weight = reinterpret_cast<float*>(RandomBytes(4 * tokens * kTopk, 1));
            return [=](int64_t set, Stream& stream) {
              kCudaKernels.gate_score({.logits = {l + set * tokens * 256, {tokens, 256}},
                                       .bias = {bias, {256}},
                                       .routed_scaling_factor = 1.5f,
                                       .experts = {experts, {tokens, kTopk}},
                                       .weight = {weight, {tokens, kTopk}}},
                                      stream);
            };
          }};
}

BenchCase GateHash(int64_t tokens) {
  constexpr int64_t kVocabulary = 129280;
  return {.name = "gate_hash E=256",
          .tokens = tokens,
          .bytes = tokens * (4 * kTopk + 4 + 16 * kTopk),
          .set_bytes = 4 * 256 * tokens,
          .make = [=](int64_t sets) {
            std::vector<int64_t> table;
            for (int64_t i = 0; i < kVocabulary * kTopk; ++i) table.push_back(i * 2654435761 % 256);
            std::vector<int32_t> ids;
            for (int64_t i = 0; i < sets * tokens; ++i) {
              ids.push_back(static_cast<int32_t>(i * 2654435761 % kVocabulary));
            }
            const int64_t* tid2eid = Upload(table);
            const int32_t* tokens_of = Upload(ids);
            auto* logits = reinterpret_cast<float*>(RandomBytes(4 * sets * tokens * 256, 1));
            auto* experts = reinterpret_cast<int32_t*>(RandomBytes(4 * tokens * kTopk, 1));
            auto* weight = reinterpret_cast<float*>(RandomBytes(4 * tokens * kTopk, 1));
            return [=](int64_t set, Stream& stream) {
              kCudaKernels.gate_hash({.logits = {logits + set * tokens * 256, {tokens, 256}},
                                      .tokens = {tokens_of + set * tokens, {tokens}},
                                      .tid2eid = {tid2eid, {kVocabulary, kTopk}},
                                      .routed_scaling_factor = 1.5f,
                                      .experts = {experts, {tokens, kTopk}},
                                      .weight = {weight, {tokens, kTopk}}},
                                     stream);
            };
          }};
}

BenchCase Swiglu(int64_t rows, int64_t inner) {
  return {.name = "swiglu I=" + std::to_string(inner),
          .tokens = rows,
          .bytes = 6 * rows * inner,
          .make = [=](int64_t sets) {
            auto* a = reinterpret_cast<Bf16*>(RandomBytes(2 * sets * rows * inner, 1));
            auto* b = reinterpret_cast<Bf16*>(RandomBytes(2 * sets * rows * inner, 2));
            auto* out = reinterpret_cast<Bf16*>(RandomBytes(2 * sets * rows * inner, 3));
            return [=](int64_t set, Stream& stream) {
              const int64_t at = set * rows * inner;
              kCudaKernels.swiglu({.a = {a + at, {rows, inner}},
                                   .b = {b + at, {rows, inner}},
                                   .limit = 10,
                                   .out = {out + at, {rows, inner}}},
                                  stream);
            };
          }};
}

const Cases kFlashCases("moe", [] {
  std::vector<BenchCase> cases;
  for (const int64_t tokens : {1, 2, 4, 8}) {
    const double bar = tokens == 1 ? 0.65 : tokens == 8 ? 0.75 : 0;
    cases.push_back(MoeExperts(kFlash, tokens, bar));
    cases.push_back(MoeLayer(kFlash, tokens, false, bar));
    if (tokens == 1) cases.push_back(MoeLayer(kFlash, tokens, true, bar));
  }
  return cases;
});

const Cases kProCases("moe_pro", [] {
  std::vector<BenchCase> cases;
  for (const int64_t tokens : {1, 8}) {
    cases.push_back(MoeExperts(kPro, tokens, 0));
    cases.push_back(MoeLayer(kPro, tokens, false, 0));
  }
  return cases;
});

const Cases kGateCases("moe_gate", [] {
  std::vector<BenchCase> cases;
  for (const int64_t tokens : {1, 8, 4096}) cases.push_back(GateScore(tokens));
  for (const int64_t tokens : {1, 4096}) cases.push_back(GateHash(tokens));
  cases.push_back(Swiglu(6, 2048));
  cases.push_back(Swiglu(24576, 2048));
  return cases;
});

}  // namespace
}  // namespace tandem::kernels
