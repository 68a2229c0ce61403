// SPDX-License-Identifier: Apache-2.0
// Goal: moe_experts for more than a few tokens on a device. Method: fresh random input and routes
// (unused slots, experts out of range, experts named twice), from one row an expert to several
// tiles, with all products (the block-scaled one emulated where the device has none), against the
// reference; the same bits twice and whatever T.
#include <memory>

#include "kernels/moe/moe_tiles.h"
#include "tests/kernels/gemm/fragment_weights.h"
#include "tests/kernels/moe/experts_on_device.h"

namespace tandem::kernels {
namespace {

struct Shape {
  int64_t tokens, dim, inner, shared_inner, experts, slots;
};

struct Form {
  const char* name;
  void (*run)(const MoeExpertsArgs& args, Stream& stream);
};
constexpr Form kForms[] = {
    {"bf16", [](const MoeExpertsArgs& args,
                Stream& stream) { cuda::MoeExpertsGrouped(args, cuda::TileMath::kBf16, stream); }},
    {"block-scaled",
     [](const MoeExpertsArgs& args, Stream& stream) {
       cuda::MoeExpertsGrouped(args, cuda::TileMath::kMx, stream);
     }},
    {"listed", cuda::MoeExpertsListed}};

class MoeExpertsGroupedCudaTest : public OnDevice {
 protected:
  // Experts' weights on both sides.
  struct Model {
    Model(const Shape& s, Random& random) {
      for (int64_t e = 0; e <= s.experts; ++e) {
        const bool routed = e < s.experts;
        const WeightFormat format = routed ? WeightFormat::kFp4 : WeightFormat::kFp8;
        const int64_t inner = routed ? s.inner : s.shared_inner;
        owned.push_back(std::make_unique<OwnedWeight>(format, inner, s.dim, random));
        owned.push_back(std::make_unique<OwnedWeight>(format, inner, s.dim, random));
        owned.push_back(std::make_unique<OwnedWeight>(format, s.dim, inner, random));
      }
      std::vector<const OwnedWeight*> all;
      for (const auto& weight : owned) all.push_back(weight.get());
      device = std::make_unique<FragmentWeights>(all);
      for (size_t i = 0; i < owned.size(); i += 3) {
        plain.push_back({owned[i]->plain(), owned[i + 1]->plain(), owned[i + 2]->plain()});
        prepared.push_back({(*device)[i], (*device)[i + 1], (*device)[i + 2]});
      }
    }
    std::vector<std::unique_ptr<OwnedWeight>> owned;
    std::unique_ptr<FragmentWeights> device;
    std::vector<ExpertWeights> plain, prepared;  // the last is the shared expert
  };

  static MoeExpertsArgs Args(const std::vector<ExpertWeights>& weights, TensorView<const Bf16, 2> x,
                             TensorView<const int32_t, 2> experts,
                             TensorView<const float, 2> weight, TensorView<Bf16, 2> y) {
    const int64_t count = static_cast<int64_t>(weights.size()) - 1;
    return {.x = x,
            .experts = experts,
            .weight = weight,
            .routed = {weights.data(), {count}},
            .shared = weights.back(),
            .limit = 10,
            .y = y};
  }

  // Compares the first `judged` tokens with the reference.
  void Check(const Shape& s, int64_t judged) {
    SCOPED_TRACE(testing::Message() << "T=" << s.tokens << " D=" << s.dim << " I=" << s.inner
                                    << " E=" << s.experts << " K=" << s.slots);
    const Model model(s, random);
    Tensor<Bf16, 2> x(s.tokens, s.dim), expected(judged, s.dim);
    Tensor<int32_t, 2> experts(s.tokens, s.slots);
    Tensor<float, 2> weight(s.tokens, s.slots);
    random.Fill(x);
    for (int32_t& e : experts.values) e = static_cast<int32_t>(random.Below(s.experts + 2)) - 1;
    for (float& w : weight.values) w = 0.1f + std::abs(random.Normal());
    reference.moe_experts(Args(model.plain, Rows(x.view, 0, judged), Rows(experts.view, 0, judged),
                               Rows(weight.view, 0, judged), expected),
                          host);
    for (const Form& form : kForms) {
      SCOPED_TRACE(form.name);
      Compare(s, model, x, experts, weight, expected, form);
    }
  }

  void Compare(const Shape& s, const Model& model, const Tensor<Bf16, 2>& x,
               const Tensor<int32_t, 2>& experts, const Tensor<float, 2>& weight,
               const Tensor<Bf16, 2>& expected, const Form& form) {
    const int64_t judged = expected.view.shape[0];
    Tensor<Bf16, 2> poison(s.tokens, s.dim);
    poison.Poison();
    const DeviceTensor dx(x), y(poison), again(poison), fewer(poison);
    const DeviceTensor de(experts);
    const DeviceTensor dw(weight);
    const auto run = [&](int64_t first, int64_t n, TensorView<Bf16, 2> to) {
      form.run(Args(model.prepared, Rows(dx.view(), first, n), Rows(de.view(), first, n),
                    Rows(dw.view(), first, n), Rows(to, first, n)),
               stream);
    };
    run(0, s.tokens, y);
    run(0, s.tokens, again);
    const int64_t part = std::min<int64_t>(s.tokens / 2, 20);
    run(0, part, fewer);
    run(part, s.tokens - part, fewer);
    run(0, s.tokens, dx);  // y may be x
    Wait();
    const std::vector<Bf16> result = y.Fetch().values;
    EXPECT_TRUE(result == again.Fetch().values);
    EXPECT_TRUE(result == fewer.Fetch().values);
    EXPECT_TRUE(result == dx.Fetch().values);
    ExpectExpertsNear({result.begin(), result.begin() + judged * s.dim}, expected.values);
  }

  Random random{std::random_device{}()};
};

TEST_F(MoeExpertsGroupedCudaTest, FewRowsAnExpert) {
  SCOPED_TRACE(random.Trace());
  Check({1, 128, 128, 128, 4, 2}, 1);
  Check({9, 512, 256, 256, 16, 6}, 9);
  Check({33, 128, 128, 256, 1, 1}, 33);
  Check({64, 256, 128, 128, 20, 6}, 64);
  Check({100, 384, 384, 128, 16, 3}, 50);
}

TEST_F(MoeExpertsGroupedCudaTest, ManyRowsAnExpert) {
  SCOPED_TRACE(random.Trace());
  Check({200, 256, 128, 128, 4, 2}, 40);
  Check({129, 128, 256, 384, 2, 2}, 129);
  Check({600, 128, 128, 128, 3, 2}, 60);
  Check({4200, 128, 128, 128, 60, 6}, 60);
}

TEST_F(MoeExpertsGroupedCudaTest, TheModelsShard) {
  SCOPED_TRACE(random.Trace());
  Check({12, 4096, 256, 256, 8, 6}, 3);
  Check({300, 4096, 256, 256, 8, 6}, 2);
  Check({10, 7168, 384, 384, 6, 6}, 1);
}

}  // namespace
}  // namespace tandem::kernels
