// SPDX-License-Identifier: Apache-2.0
// Weights in fragment order on the device, for tests that need no preparation.
#pragma once

#include <algorithm>
#include <vector>

#include "tests/kernels/cuda/device.h"
#include "tests/kernels/gemm/fragments.h"

namespace tandem::kernels {

// Evenly spaced.
class FragmentWeights {
 public:
  explicit FragmentWeights(const std::vector<const OwnedWeight*>& weights)
      : storage_(Stride(weights) * static_cast<int64_t>(weights.size())) {
    const int64_t stride = Stride(weights);
    std::vector<uint8_t> host(storage_.size(), 0);
    for (size_t i = 0; i < weights.size(); ++i) {
      const int64_t at = stride * static_cast<int64_t>(i);
      PackFragments(weights[i]->plain(), host.data() + at);
      weights_.push_back(weights[i]->plain());
      weights_.back().prepared = storage_.data() + at;
    }
    storage_.Write(host.data(), storage_.size());
  }
  const LinearWeight& operator[](int64_t i) const { return weights_[i]; }

 private:
  static int64_t Stride(const std::vector<const OwnedWeight*>& weights) {
    int64_t stride = 0;
    for (const OwnedWeight* weight : weights) {
      stride = std::max(stride, (FragmentBytes(weight->plain()) + 255) / 256 * 256);
    }
    return stride;
  }
  DeviceBytes storage_;
  std::vector<LinearWeight> weights_;
};

}  // namespace tandem::kernels
