// SPDX-License-Identifier: Apache-2.0
// WeightSizes: what the weights of a model, or of a rank's part of one, take. Pure functions of the
// config; a test holds them against what the loader takes of a real checkpoint.
#pragma once

#include <cstdint>

#include "services/runtime/model/config/model_config.h"

namespace tandem {

struct WeightSizes {
  // Tensors as in the checkpoint, scales included, the drafter (mtp.*) not.
  int64_t checkpoint = 0;
  // In fragment order in a GPU's memory, by kind.
  int64_t experts = 0;    // routed
  int64_t shared = 0;     // shared experts
  int64_t attention = 0;  // projections, norms, sinks
  int64_t indexer = 0;    // with its compressor
  int64_t compressor = 0;
  int64_t vocabulary = 0;  // embedding and head
  int64_t rest = 0;        // routers, hyper-connections, norms

  int64_t total() const {
    return experts + shared + attention + indexer + compressor + vocabulary + rest;
  }
};

WeightSizes SizesOf(const ModelConfig& config);

// What the CPU's kernels prepare of them takes at most: they hold a code in twice its bytes.
int64_t MostOnHost(const ModelConfig& config);

}  // namespace tandem
