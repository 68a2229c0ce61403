// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/quant/fp4_quant.h"
#include "kernels/quant/hadamard.h"
#include "kernels/quant/index_query.h"
#include "kernels/rope/rope.h"

namespace tandem::kernels {
namespace cpu {

void IndexQuery(const IndexQueryArgs& args, Stream& stream) {
  CheckIndexQuery(args);
  const int64_t tokens = args.x.shape[0], heads = args.x.shape[1], rows = tokens * heads;
  Scratch scratch(stream);
  Bf16* x = scratch.Take<Bf16>(args.x.size());
  std::copy_n(args.x.data, args.x.size(), x);
  Rope({.x = {x, {tokens, heads, kIndexDim}}, .cos = args.cos, .sin = args.sin}, stream);
  Hadamard({.x = {x, {rows, kIndexDim}}}, stream);
  Fp4Quant({.x = {x, {rows, kIndexDim}},
            .q = {args.q.data, {rows, kIndexRowBytes}},
            .scale = {args.scale.data, {rows, kIndexRowScales}}},
           stream);
}

}  // namespace cpu

}  // namespace tandem::kernels
