// SPDX-License-Identifier: Apache-2.0
// Groups of linear layers as the model has them, and how the tests of linear_group run one: at
// once, and operation by operation.
#pragma once

#include <memory>
#include <vector>

#include "kernels/gemm/linear_group.h"
#include "tests/kernels/testing.h"

namespace tandem::kernels {

enum class GroupInput { kGiven, kQuantised, kNormed };

struct GroupShape {
  GroupInput input;
  int64_t k;
  std::vector<int64_t> fp8, bf16;  // rows of the weights
};

inline std::vector<std::unique_ptr<OwnedWeight>> WeightsOf(const GroupShape& shape,
                                                           Random& random) {
  std::vector<std::unique_ptr<OwnedWeight>> weights;
  const auto add = [&](WeightFormat format, const std::vector<int64_t>& rows) {
    for (const int64_t n : rows) {
      weights.push_back(std::make_unique<OwnedWeight>(format, n, shape.k, random));
    }
  };
  add(WeightFormat::kFp8, shape.fp8);
  add(WeightFormat::kBf16, shape.bf16);
  return weights;
}

// Inputs and poisoned outputs, in Holder's tensors: Tensor or DeviceTensor.
template <template <typename, int> class Holder>
struct GroupSide {
  struct Output {
    Output(int64_t tokens, int64_t n)
        : y(Tensor<Bf16, 2>(tokens, n).Poison()), y_float(Tensor<float, 2>(tokens, n).Poison()) {}
    Holder<Bf16, 2> y;
    Holder<float, 2> y_float;
  };

  GroupSide(const GroupShape& shape, const std::vector<LinearWeight>& weights,
            const Tensor<Bf16, 2>& x, const Tensor<Bf16, 1>& norm)
      : shape(shape),
        tokens(x.view.shape[0]),
        x(x),
        normed(x),
        norm(norm),
        q(Tensor<E4M3, 2>(tokens, shape.k).Poison()),
        scale(Tensor<Ue8m0, 2>(tokens, shape.k / 128).Poison()) {
    for (const LinearWeight& weight : weights) {
      outputs.push_back(std::make_unique<Output>(tokens, weight.n));
      const bool is_fp8 = weight.format == WeightFormat::kFp8;
      linears.push_back({.weight = weight});
      if (is_fp8) {
        linears.back().y = outputs.back()->y;
      } else {
        linears.back().y_float = outputs.back()->y_float;
      }
    }
  }

  void RunTogether(const KernelTable& table, Stream& stream) {
    LinearGroupArgs args = {.x = x, .linears = linears};
    if (shape.input == GroupInput::kNormed) {
      args.norm = norm;
      args.eps = 1e-6f;
    }
    if (shape.input == GroupInput::kGiven) {
      table.act_quant({.x = x, .q = q, .scale = scale}, stream);
      args.q = q;
      args.scale = scale;
      if (shape.bf16.empty()) args.x = {};
    }
    table.linear_group(args, stream);
  }
  void RunApart(const KernelTable& table, Stream& stream) {
    if (shape.input == GroupInput::kNormed) {
      table.rms_norm({.x = x, .weight = norm, .eps = 1e-6f, .y = normed}, stream);
    }
    table.act_quant({.x = normed, .q = q, .scale = scale}, stream);
    for (const GroupLinear& linear : linears) {
      if (linear.weight.format == WeightFormat::kFp8) {
        table.quant_linear({.q = q, .scale = scale, .weight = linear.weight, .y = linear.y},
                           stream);
      } else {
        table.bf16_linear({.x = x, .weight = linear.weight, .y = linear.y_float}, stream);
      }
    }
  }

  GroupShape shape;
  int64_t tokens;
  Holder<Bf16, 2> x, normed;
  Holder<Bf16, 1> norm;
  Holder<E4M3, 2> q;
  Holder<Ue8m0, 2> scale;
  std::vector<std::unique_ptr<Output>> outputs;
  std::vector<GroupLinear> linears;
};

// `read(tensor)`: a tensor's values.
template <typename Side, typename Read>
void ExpectSameOutputs(const Side& a, const Side& b, const Read& read) {
  const auto same = [&](const auto& one, const auto& other) {
    const auto x = read(one), y = read(other);
    return std::memcmp(x.data(), y.data(), x.size() * sizeof(x[0])) == 0;
  };
  for (size_t i = 0; i < a.outputs.size(); ++i) {
    EXPECT_TRUE(same(a.outputs[i]->y, b.outputs[i]->y)) << "linear " << i;
    EXPECT_TRUE(same(a.outputs[i]->y_float, b.outputs[i]->y_float)) << "linear " << i;
  }
}

}  // namespace tandem::kernels
