// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/bf16_linear.h"
#include "kernels/gemm/stream_linear.cuh"
#include "kernels/gemm/tile_linear.h"

namespace tandem::kernels::cuda {
namespace {

// At most kStreamTokens tokens.
void Bf16LinearOfFewTokens(const Bf16LinearArgs& args, Stream& stream) {
  const StreamArgs product = {.weight = ViewOf(args.weight),
                              .x = args.x.data,
                              .scale = nullptr,
                              .x_stride = args.weight.k,
                              .group_rows = args.weight.n,
                              .y = args.y.data,
                              .tokens = args.x.shape[0]};
  StreamBf16<float>("bf16_linear", product, stream);
}

}  // namespace

void Bf16Linear(const Bf16LinearArgs& args, Stream& stream) {
  CheckBf16Linear(args);
  if (args.x.shape[0] == 0) return;
  if (args.x.shape[0] <= kStreamTokens) {
    Bf16LinearOfFewTokens(args, stream);
  } else {
    TileBf16Linear(args, stream);
  }
}

}  // namespace tandem::kernels::cuda
