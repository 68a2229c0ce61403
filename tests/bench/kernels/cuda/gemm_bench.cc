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

enum class Input { kGiven, kQuantised, kNormed };

// Weights of one input, at once; or `apart`, as the operations that linear_group stands for.
struct Group {
  const char* name;
  Input input;
  int64_t k;
  std::vector<int64_t> fp8, bf16;  // rows
  bool apart = false;
};

struct GroupMember {
  Weights weights;
  uint8_t* y;
  int64_t y_bytes;  // of a set
};

struct GroupBuffers {
  Bf16 *x, *norm, *normed;
  E4M3* q;
  Ue8m0* scale;
  std::vector<GroupMember> members;
};

GroupBuffers BuffersOf(const Group& g, int64_t tokens, int64_t sets) {
  const auto bf16 = [](int64_t count) {
    return reinterpret_cast<Bf16*>(RandomBytes(2 * count, 2));
  };
  GroupBuffers b = {.x = bf16(sets * tokens * g.k),
                    .norm = bf16(g.k),
                    .normed = bf16(tokens * g.k),
                    .q = reinterpret_cast<E4M3*>(RandomBytes(sets * tokens * g.k, 3)),
                    .scale = reinterpret_cast<Ue8m0*>(RandomBytes(sets * tokens * g.k / 128, 4))};
  const auto add = [&](WeightFormat format, int64_t n) {
    const int64_t y_bytes = tokens * n * (format == WeightFormat::kFp8 ? 2 : 4);
    b.members.push_back(
        {Weights(format, {"", n, g.k}, sets), RandomBytes(sets * y_bytes, 5), y_bytes});
  };
  for (const int64_t n : g.fp8) add(WeightFormat::kFp8, n);
  for (const int64_t n : g.bf16) add(WeightFormat::kBf16, n);
  return b;
}

// What linear_group does, one by one.
void RunApart(const Group& g, const LinearGroupArgs& args, const GroupBuffers& b, Stream& stream) {
  const int64_t tokens = args.x.shape[0];
  const TensorView<Bf16, 2> normed = {b.normed, {tokens, g.k}};
  const TensorView<E4M3, 2> q = {b.q, {tokens, g.k}};
  const TensorView<Ue8m0, 2> scale = {b.scale, {tokens, g.k / 128}};
  if (g.input == Input::kNormed) {
    kCudaKernels.rms_norm({.x = args.x, .weight = args.norm, .eps = args.eps, .y = normed}, stream);
  }
  if (g.input != Input::kGiven) {
    const bool is_normed = g.input == Input::kNormed;
    kCudaKernels.act_quant({.x = is_normed ? normed : args.x, .q = q, .scale = scale}, stream);
  }
  for (const GroupLinear& linear : args.linears) {
    if (linear.weight.format == WeightFormat::kFp8) {
      kCudaKernels.quant_linear({.q = q, .scale = scale, .weight = linear.weight, .y = linear.y},
                                stream);
    } else {
      kCudaKernels.bf16_linear({.x = args.x, .weight = linear.weight, .y = linear.y_float}, stream);
    }
  }
}

void RunGroup(const Group& g, int64_t tokens, const GroupBuffers& b, int64_t set, Stream& stream) {
  std::vector<GroupLinear> linears;
  for (const GroupMember& member : b.members) {
    GroupLinear linear = {.weight = member.weights.At(set)};
    uint8_t* y = member.y + set * member.y_bytes;
    if (linear.weight.format == WeightFormat::kFp8) {
      linear.y = {reinterpret_cast<Bf16*>(y), {tokens, linear.weight.n}};
    } else {
      linear.y_float = {reinterpret_cast<float*>(y), {tokens, linear.weight.n}};
    }
    linears.push_back(linear);
  }
  LinearGroupArgs args = {.x = {b.x + set * tokens * g.k, {tokens, g.k}}, .linears = linears};
  if (g.input == Input::kNormed) {
    args.norm = {b.norm, {g.k}};
    args.eps = 1e-6f;
  }
  if (g.apart) return RunApart(g, args, b, stream);
  if (g.input == Input::kGiven) {
    args.q = {b.q + set * tokens * g.k, {tokens, g.k}};
    args.scale = {b.scale + set * tokens * g.k / 128, {tokens, g.k / 128}};
  }
  kCudaKernels.linear_group(args, stream);
}

BenchCase GroupCase(const Group& g, int64_t tokens) {
  int64_t bytes = 3 * tokens * g.k, rows = 0;
  for (const int64_t n : g.fp8) bytes += n * (g.k + 2 * tokens), rows += n;
  for (const int64_t n : g.bf16) bytes += n * (2 * g.k + 4 * tokens), rows += n;
  return {.name = std::string(g.apart ? "one by one: " : "linear_group ") + g.name +
                  " K=" + std::to_string(g.k),
          .tokens = tokens,
          .bytes = bytes,
          .flop = 2 * tokens * rows * g.k,
          .make = [=](int64_t sets) {
            const GroupBuffers buffers = BuffersOf(g, tokens, sets);
            return [=](int64_t set, Stream& stream) { RunGroup(g, tokens, buffers, set, stream); };
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
    cases.push_back(Quant({"shared w1", 1024, 4096}, tokens));
    cases.push_back(Quant({"shared w2", 4096, 1024}, tokens));
    cases.push_back(Plain({"LM head", 64640, 4096, 0.85}, tokens));
    cases.push_back(Plain({"router", 256, 4096}, tokens));
    cases.push_back(Plain({"compressor", 1024, 4096}, tokens));
  }
  return cases;
});

const Cases kGroups("linear_group", [] {
  std::vector<BenchCase> cases;
  for (const int64_t tokens : {1, 2, 4, 8, 16, 64}) {
    for (Group group :
         {Group{"CSA first", Input::kGiven, 4096, {1024, 512}, {1024, 1024, 256, 256, 64}},
          Group{"HCA first", Input::kGiven, 4096, {1024, 512}, {512, 512}},
          Group{"SWA first", Input::kGiven, 4096, {1024, 512}, {}},
          Group{"CSA second", Input::kNormed, 1024, {16384, 8192}, {}},
          Group{"HCA second", Input::kNormed, 1024, {16384}, {}},
          Group{"wo_b", Input::kQuantised, 4096, {4096}, {}}}) {
      cases.push_back(GroupCase(group, tokens));
      group.apart = true;
      if (tokens == 1 || tokens == 8) cases.push_back(GroupCase(group, tokens));
    }
  }
  return cases;
});

}  // namespace
}  // namespace tandem::kernels
