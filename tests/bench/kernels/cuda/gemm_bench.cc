// SPDX-License-Identifier: Apache-2.0
// Goal: the linear layers at Flash's sizes, a shard of two. Method: bench.h; weights are random
// bytes taken for prepared ones.
#include "kernels/gemm/fragment_order.h"
#include "kernels/kernel_table.h"
#include "tests/bench/kernels/cuda/bench.h"

namespace tandem::kernels {
namespace {

struct Shape {
  const char* name;
  int64_t n, k;
  double bar = 0;  // at 1 to 8 tokens
};

std::string Title(const char* op, const Shape& s) {
  return std::string(op) + " " + s.name + " N=" + std::to_string(s.n) + " K=" + std::to_string(s.k);
}

// `sets` weights that are said to be prepared.
struct Weights {
  Weights(WeightFormat format, const Shape& s, int64_t sets)
      : format(format),
        n(s.n),
        k(s.k),
        bytes(Bytes(format, s)),
        data(RandomBytes(sets * bytes, 1)) {}
  static int64_t Bytes(WeightFormat format, const Shape& s) {
    const int64_t scales = format == WeightFormat::kFp8 ? s.n / 128 * s.k / 128 : 0;
    return (FragmentScaleOffset(format, s.n, s.k) + scales + 255) / 256 * 256;
  }
  LinearWeight At(int64_t set) const {
    uint8_t* at = data + set * bytes;
    return {.format = format, .n = n, .k = k, .bytes = at, .scales = at, .prepared = at};
  }
  WeightFormat format;
  int64_t n, k, bytes;
  uint8_t* data;
};

BenchCase Quant(const Shape& s, int64_t tokens) {
  return {.name = Title("quant_linear", s),
          .tokens = tokens,
          .bytes = s.n * s.k + tokens * (s.k + 2 * s.n),
          .flop = 2 * tokens * s.n * s.k,
          .bar = tokens <= 8 ? s.bar : 0,
          .make = [=](int64_t sets) {
            const Weights weights(WeightFormat::kFp8, s, sets);
            auto* q = reinterpret_cast<E4M3*>(RandomBytes(sets * tokens * s.k, 2));
            auto* scale = reinterpret_cast<Ue8m0*>(RandomBytes(sets * tokens * s.k / 128, 3));
            auto* y = reinterpret_cast<Bf16*>(RandomBytes(2 * sets * tokens * s.n, 4));
            return [=](int64_t set, Stream& stream) {
              const int64_t at = set * tokens;
              kCudaKernels.quant_linear({.q = {q + at * s.k, {tokens, s.k}},
                                         .scale = {scale + at * (s.k / 128), {tokens, s.k / 128}},
                                         .weight = weights.At(set),
                                         .y = {y + at * s.n, {tokens, s.n}}},
                                        stream);
            };
          }};
}

// wq_a, then wkv, on the same input.
BenchCase QuantPair(int64_t tokens) {
  const BenchCase a = Quant({"wq_a", 1024, 4096}, tokens), b = Quant({"wkv", 512, 4096}, tokens);
  return {.name = "quant_linear wq_a, wkv N=1024, 512 K=4096",
          .tokens = tokens,
          .bytes = a.bytes + b.bytes - tokens * 4096,
          .flop = a.flop + b.flop,
          .make = [=](int64_t sets) {
            const auto first = a.make(sets), second = b.make(sets);
            return [=](int64_t set, Stream& stream) {
              first(set, stream);
              second(set, stream);
            };
          }};
}

BenchCase Grouped(int64_t groups, const Shape& s, int64_t tokens) {
  return {.name = Title("grouped_linear", s),
          .tokens = tokens,
          .bytes = s.n * s.k + 2 * tokens * (groups * s.k + s.n),
          .flop = 2 * tokens * s.n * s.k,
          .bar = tokens <= 8 ? s.bar : 0,
          .make = [=](int64_t sets) {
            const Weights weights(WeightFormat::kFp8, s, sets);
            auto* x = reinterpret_cast<Bf16*>(RandomBytes(2 * sets * tokens * groups * s.k, 2));
            auto* y = reinterpret_cast<Bf16*>(RandomBytes(2 * sets * tokens * s.n, 3));
            return [=](int64_t set, Stream& stream) {
              const int64_t at = set * tokens;
              kCudaKernels.grouped_linear({.x = {x + at * groups * s.k, {tokens, groups, s.k}},
                                           .weight = weights.At(set),
                                           .y = {y + at * s.n, {tokens, groups, s.n / groups}}},
                                          stream);
            };
          }};
}

BenchCase Plain(const Shape& s, int64_t tokens) {
  return {.name = Title("bf16_linear", s),
          .tokens = tokens,
          .bytes = 2 * s.n * s.k + tokens * (2 * s.k + 4 * s.n),
          .flop = 2 * tokens * s.n * s.k,
          .bar = tokens <= 8 ? s.bar : 0,
          .make = [=](int64_t sets) {
            const Weights weights(WeightFormat::kBf16, s, sets);
            auto* x = reinterpret_cast<Bf16*>(RandomBytes(2 * sets * tokens * s.k, 2));
            auto* y = reinterpret_cast<float*>(RandomBytes(4 * sets * tokens * s.n, 3));
            return [=](int64_t set, Stream& stream) {
              const int64_t at = set * tokens;
              kCudaKernels.bf16_linear({.x = {x + at * s.k, {tokens, s.k}},
                                        .weight = weights.At(set),
                                        .y = {y + at * s.n, {tokens, s.n}}},
                                       stream);
            };
          }};
}

const Cases kLinears("gemm", [] {
  std::vector<BenchCase> cases;
  for (const int64_t tokens : {1, 2, 4, 8, 16, 64}) {
    cases.push_back(Quant({"wq_b", 16384, 1024, 0.75}, tokens));
    cases.push_back(Grouped(4, {"wo_a", 4096, 4096, 0.75}, tokens));
    cases.push_back(Quant({"wo_b", 4096, 4096, 0.75}, tokens));
    cases.push_back(QuantPair(tokens));
    cases.push_back(Quant({"shared w1", 1024, 4096}, tokens));
    cases.push_back(Quant({"shared w2", 4096, 1024}, tokens));
    cases.push_back(Plain({"LM head", 64640, 4096, 0.85}, tokens));
    cases.push_back(Plain({"router", 256, 4096}, tokens));
    cases.push_back(Plain({"compressor", 1024, 4096}, tokens));
  }
  return cases;
});

}  // namespace
}  // namespace tandem::kernels
