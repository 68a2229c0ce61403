// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/quant_linear.h"
#include "kernels/gemm/stream_linear.cuh"
#include "kernels/gemm/tile_linear.h"

namespace tandem::kernels::cuda {
namespace {

// At most kStreamTokens tokens.
void QuantLinearOfFewTokens(const QuantLinearArgs& args, Stream& stream) {
  const StreamArgs product = {.weight = ViewOf(args.weight),
                              .x = args.q.data,
                              .scale = reinterpret_cast<const uint8_t*>(args.scale.data),
                              .x_stride = args.weight.k,
                              .group_rows = args.weight.n,
                              .y = args.y.data,
                              .tokens = args.q.shape[0]};
  if (args.weight.format == WeightFormat::kFp8) {
    StreamLinear<StreamFp8, Bf16>("quant_linear", product, stream);
  } else {
    StreamLinear<F16Dequant<WeightFormat::kFp4>, Bf16>("quant_linear", product, stream);
  }
}

}  // namespace

void QuantLinear(const QuantLinearArgs& args, Stream& stream) {
  CheckQuantLinear(args);
  if (args.q.shape[0] == 0) return;
  if (args.q.shape[0] <= kStreamTokens) {
    QuantLinearOfFewTokens(args, stream);
  } else {
    TileQuantLinear(args, NativeTileMath(), stream);
  }
}

}  // namespace tandem::kernels::cuda
