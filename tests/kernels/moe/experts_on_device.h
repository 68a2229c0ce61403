// SPDX-License-Identifier: Apache-2.0
// What the device tests of kernels/moe share: random experts, on the host for the reference and
// prepared on the device.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "kernels/moe/moe_experts.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {

struct ExpertShape {
  int64_t experts = 0, dim = 0, inner = 0, shared_inner = 0;
  WeightFormat routed = WeightFormat::kFp4;
};

class RandomExperts {
 public:
  RandomExperts(const ExpertShape& shape, Random& random) : shape_(shape) {
    for (int64_t e = 0; e < shape.experts; ++e) Add(shape.routed, shape.inner, random);
    const std::vector<const OwnedWeight*> routed = owned_pointers_;
    owned_pointers_.clear();
    Add(WeightFormat::kFp8, shape.shared_inner, random);
    routed_ = std::make_unique<DeviceWeights>(routed);
    shared_ = std::make_unique<DeviceWeights>(owned_pointers_);
    for (int64_t e = 0; e < shape.experts; ++e) {
      host_.push_back(Three(e));
      device_.push_back({(*routed_)[3 * e], (*routed_)[3 * e + 1], (*routed_)[3 * e + 2]});
    }
  }

  TensorView<const ExpertWeights, 1> host() const { return {host_.data(), {shape_.experts}}; }
  TensorView<const ExpertWeights, 1> device() const { return {device_.data(), {shape_.experts}}; }
  ExpertWeights host_shared() const { return Three(shape_.experts); }
  ExpertWeights device_shared() const { return {(*shared_)[0], (*shared_)[1], (*shared_)[2]}; }

 private:
  void Add(WeightFormat format, int64_t inner, Random& random) {
    for (const bool down : {false, false, true}) {
      owned_.push_back(std::make_unique<OwnedWeight>(format, down ? shape_.dim : inner,
                                                     down ? inner : shape_.dim, random));
      owned_pointers_.push_back(owned_.back().get());
    }
  }
  ExpertWeights Three(int64_t e) const {
    return {owned_[3 * e]->plain(), owned_[3 * e + 1]->plain(), owned_[3 * e + 2]->plain()};
  }

  ExpertShape shape_;
  std::vector<std::unique_ptr<OwnedWeight>> owned_;  // w1, w3, w2 of every expert, of the shared
  std::vector<const OwnedWeight*> owned_pointers_;
  std::unique_ptr<DeviceWeights> routed_, shared_;
  std::vector<ExpertWeights> host_, device_;
};

// Mean magnitude: what a flipped rounding inside an expert is measured against.
inline double SizeOf(const std::vector<Bf16>& values) {
  double size = 0;
  for (const Bf16 v : values) size += std::abs(ToFloat(v)) / static_cast<double>(values.size());
  return size;
}

// The reference but for roundings. A gate whose E4M3 rounding falls the other way moves its token's
// results by up to an eighth of its share in them; most shares are small, so few results may be off
// by more than a fiftieth of the usual size.
inline void ExpectExpertsNear(const std::vector<Bf16>& actual, const std::vector<Bf16>& expected) {
  const double size = SizeOf(expected);
  ExpectNear(actual, expected, 0.125 * size);
  size_t off = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double a = ToFloat(actual[i]), b = ToFloat(expected[i]);
    if (std::abs(a - b) > 0.02 * size + std::max(std::abs(a), std::abs(b)) / 128) ++off;
  }
  EXPECT_LE(off, 1 + expected.size() / 500);
}

}  // namespace tandem::kernels
