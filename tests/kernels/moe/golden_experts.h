// SPDX-License-Identifier: Apache-2.0
// The experts of golden `moe`, as a table wants them: four routed ones in FP4, then the shared one
// in FP8, all of 128 by 128. What the tests of moe_experts and moe_layer share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/kernels/testing.h"

namespace tandem::kernels {

class WithGoldenExperts : public OnTable {
 protected:
  WithGoldenExperts() {
    for (int e = 0; e < 4; ++e) Load("_" + std::to_string(e), WeightFormat::kFp4);
    Load("_s", WeightFormat::kFp8);
    for (size_t i = 0; i < owned.size(); i += 3) {
      weights.push_back({.w1 = owned[i]->For(kernels),
                         .w3 = owned[i + 1]->For(kernels),
                         .w2 = owned[i + 2]->For(kernels)});
    }
  }
  Golden golden{"moe"};
  std::vector<ExpertWeights> weights;

 private:
  void Load(const std::string& suffix, WeightFormat format) {
    for (const char* name : {"w1", "w3", "w2"}) {
      owned.push_back(std::make_unique<OwnedWeight>(format, 128, 128, golden.bytes(name + suffix),
                                                    golden.bytes(name + suffix + "_scale")));
    }
  }
  std::vector<std::unique_ptr<OwnedWeight>> owned;
};

}  // namespace tandem::kernels
