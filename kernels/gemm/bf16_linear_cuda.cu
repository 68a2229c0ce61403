// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/bf16_linear.h"
#include "kernels/gemm/stream_linear.cuh"

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

void Bf16LinearOfManyTokens(const Bf16LinearArgs& args, Stream& stream) {
  InSlicesOfTokens(args.x.shape[0], kStreamTokens, [&](int64_t first, int64_t count) {
    Bf16LinearOfFewTokens({.x = RowsOf(args.x, first, count),
                           .weight = args.weight,
                           .y = RowsOf(args.y, first, count)},
                          stream);
  });
}

}  // namespace

void Bf16Linear(const Bf16LinearArgs& args, Stream& stream) {
  CheckBf16Linear(args);
  if (args.x.shape[0] == 0) return;
  if (args.x.shape[0] <= kStreamTokens) {
    Bf16LinearOfFewTokens(args, stream);
  } else {
    Bf16LinearOfManyTokens(args, stream);
  }
}

}  // namespace tandem::kernels::cuda
