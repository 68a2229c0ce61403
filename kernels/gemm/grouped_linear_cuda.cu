// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/grouped_linear.h"
#include "kernels/gemm/stream_linear.cuh"
#include "kernels/gemm/tile_linear.h"

namespace tandem::kernels::cuda {
namespace {

// At most kStreamTokens tokens.
void GroupedLinearOfFewTokens(const GroupedLinearArgs& args, Stream& stream) {
  const StreamArgs product = {.weight = ViewOf(args.weight),
                              .x = args.x.data,
                              .scale = nullptr,
                              .x_stride = args.x.row_size(),
                              .group_rows = args.y.shape[2],
                              .y = args.y.data,
                              .tokens = args.x.shape[0]};
  if (args.weight.format == WeightFormat::kFp8) {
    StreamLinear<StreamFp8Bf16, Bf16>("grouped_linear", product, stream);
  } else {
    StreamBf16<Bf16>("grouped_linear", product, stream);
  }
}

}  // namespace

void GroupedLinear(const GroupedLinearArgs& args, Stream& stream) {
  CheckGroupedLinear(args);
  if (args.x.shape[0] == 0) return;
  if (args.x.shape[0] <= kStreamTokens) {
    GroupedLinearOfFewTokens(args, stream);
  } else {
    TileGroupedLinear(args, stream);
  }
}

}  // namespace tandem::kernels::cuda
