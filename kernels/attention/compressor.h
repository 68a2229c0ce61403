// SPDX-License-Identifier: Apache-2.0
// compressor: pool every `ratio` tokens into one cache row; also the indexer's compressor.
//
// Math      at position p of slot: row = p mod ratio (+ 4 if ratio is 4); state_u[row] = u[t],
//           state_g[row] = g[t] + ape[p mod ratio]
//           when p mod ratio = ratio − 1, for each dim j: slots i with (u_i, g_i)[j] =
//             ratio 128: the 128 rows;  ratio 4: rows 0..3 at dims [0,d), rows 4..7 at dims [d,2d)
//           v[j] = Σ_i softmax_i(g_i[j])·u_i[j];  v ← bf( norm[j] · ( v[j] / √(mean v² + eps) ) )
//           rotate the last 64 dims at position p + 1 − ratio;  write as row w = ⌊p / ratio⌋;
//           ratio 4: rows 4..7 → 0..3
//           at p = 0 the state first becomes (0, −∞)
// Shapes    u[T,c·d]  g[T,c·d]  ape[ratio,c·d]  norm[d]  state[slots,2,R,c·d]
//           ratio 4: c = 2, R = 8; ratio 128: c = 1, R = 128
//           d = 512 with `kv_rows` (584-byte rows), or ratio 4 and d = 128 with `indexer_rows`
//           (Hadamard, then FP4)
// Layout    row-major; u, g, ape, state fp32 (state[s][0] = u, [1] = g with ape), norm bf16. The
//           row lands in the page of its tokens: flat row pages[s][w / B]·B + w mod B, B = 256 /
//           ratio. Exactly one of the two outputs has a base.
// Numerics  fp32 to the norm: v is NOT rounded to bf16 before it (design 3, DIS-3;
//           tools/v4_reference.py does round). Reference: fp64 within. Others: fp32 sums in slot
//           order; CUDA, ratio 128: four parts of 32 slots, eight at a time under a running
//           maximum. After the norm one rounding to bf16, then rope's. State and rows are the same
//           bits for any split of a sequence into steps.
// Cost      8·c·d bytes of u, g and as many of state a token
// Roofline  T=8192, ratio 4, d=512: 134 MB → 28 µs at 4.8 TB/s
// Source    reference/deepseek_v4.md 3.6
#pragma once

#include "kernels/common/batch.h"
#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/paged_rows.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct CompressorArgs {
  TensorView<const float, 2> u;    // [T, c·d]
  TensorView<const float, 2> g;    // [T, c·d]
  TensorView<const float, 2> ape;  // [ratio, c·d]
  TensorView<const Bf16, 1> norm;  // [d]
  float norm_eps = 0;
  TensorView<const float, 1> frequencies;  // [32], of RopeFrequencies
  Batch batch;
  TensorView<float, 4> state;  // [slots, 2, R, c·d]
  KvPages kv_rows;             // d = 512
  IndexerPages indexer_rows;   // d = 128

  int64_t ratio() const { return ape.shape[0]; }
  int64_t dim() const { return norm.shape[0]; }
};

// Floats of one slot's state.
constexpr int64_t CompressorStateSize(int64_t ratio, int64_t dim) {
  return ratio == 4 ? 2 * 8 * 2 * dim : 2 * ratio * dim;
}

inline void CheckCompressor(const CompressorArgs& args) {
  CheckBatch(args.batch);
  const int64_t ratio = args.ratio(), width = (ratio == 4 ? 2 : 1) * args.dim();
  KERNEL_CHECK(ratio == 4 || ratio == 128);
  KERNEL_CHECK((args.kv_rows.base != nullptr) != (args.indexer_rows.base != nullptr));
  KERNEL_CHECK_EQ(args.dim(), args.kv_rows.base != nullptr ? kHeadDim : kIndexDim);
  KERNEL_CHECK(args.kv_rows.base != nullptr ? args.kv_rows.rows_per_page * ratio == kPageTokens
                                            : ratio == 4);
  KERNEL_CHECK_EQ(args.u.shape[0], args.batch.tokens());
  KERNEL_CHECK_EQ(args.u.shape[1], width);
  KERNEL_CHECK_EQ(args.g.shape[0], args.batch.tokens());
  KERNEL_CHECK_EQ(args.g.shape[1], width);
  KERNEL_CHECK_EQ(args.ape.shape[1], width);
  KERNEL_CHECK_EQ(args.frequencies.shape[0], kRopeDim / 2);
  KERNEL_CHECK_EQ(args.state.row_size(), CompressorStateSize(ratio, args.dim()));
}

namespace cpu {
void Compressor(const CompressorArgs& args, Stream& stream);
}
namespace fast {
void Compressor(const CompressorArgs& args, Stream& stream);
}
namespace cuda {
void Compressor(const CompressorArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
