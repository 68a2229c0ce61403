// SPDX-License-Identifier: Apache-2.0
// indexer_topk: the lightning indexer; which compressed rows each query of a CSA layer attends to.
//
// Math      w[t,h] = bf( bf(proj[t,h]) · weight_scale )
//           score[t,j] = fp32( Σ_h max(q[t,h]·k[j], 0)·w[t,h] )  for rows j < ⌊(p+1)/4⌋
//           rows[t] = the min(K, number of rows) best, ties to the lowest j, listed in ascending j
// Shapes    q[T,H,64]  q_scale[T,H,4]  proj[T,H]  keys  →  rows[T,K]      H = index_n_heads, K =
//           index_topk
// Layout    q packed E2M1 (fp4_quant), proj fp32 (bf16_linear of weights_proj), keys in indexer
//           pages; rows int32, flat rows of the CSA pages, pages[s][j / 64]·64 + j mod 64; −1 fills
//           up. If all rows fit, nothing is scored.
// Numerics  products of E2M1 values are exact; scores are summed in fp64 over heads and rounded to
//           fp32 before comparing; the sum over 128 dims is fp64 in the reference, fp32 in the
//           others (exact unless scales of groups differ by more than 2^10). A NaN score counts as
//           −∞. On a device (H ≤ 64): dots are exact where the four scales of a key and of a head
//           lie within 2^3, else fp32; the sum over heads is fp32, in a fixed order. On
//           sm_120f dots are exact if its product keeps 24 bits (ptx/mma_block_scale.h), else
//           within 2^-21 of the sum of magnitudes.
// Cost      68 bytes a row once a query tile, 256·H flop a (query, row). CUDA: one launch where up
// to
//           64 tokens' page tables name at most 2,048 rows (8,192 tokens of context), else three
// Roofline  1M tokens: T=1 → 17.8 MB → 4 µs at 4.8 TB/s; 4K: 70 KB: latency-bound
// Source    reference/deepseek_v4.md 3.7, DIS-4, DIS-5, DIS-6
#pragma once

#include <cstdint>

#include "kernels/common/batch.h"
#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/paged_rows.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct IndexerTopkArgs {
  TensorView<const uint8_t, 3> q;      // [T, H, 64]
  TensorView<const Ue8m0, 3> q_scale;  // [T, H, 4]
  TensorView<const float, 2> proj;     // [T, H]
  float weight_scale = 0;              // index_head_dim^-½ · index_n_heads^-½
  Batch batch;
  ConstIndexerPages keys;
  TensorView<int32_t, 2> rows;  // [T, K]
};

inline void CheckIndexerTopk(const IndexerTopkArgs& args) {
  CheckBatch(args.batch);
  KERNEL_CHECK_EQ(args.q.shape[0], args.batch.tokens());
  KERNEL_CHECK_EQ(args.q.shape[2], kIndexRowBytes);
  KERNEL_CHECK_EQ(args.q_scale.shape[0], args.batch.tokens());
  KERNEL_CHECK_EQ(args.q_scale.shape[1], args.q.shape[1]);
  KERNEL_CHECK_EQ(args.q_scale.shape[2], kIndexRowScales);
  KERNEL_CHECK_EQ(args.proj.shape[0], args.batch.tokens());
  KERNEL_CHECK_EQ(args.proj.shape[1], args.q.shape[1]);
  KERNEL_CHECK_EQ(args.rows.shape[0], args.batch.tokens());
  KERNEL_CHECK_GE(args.rows.shape[1], 1);
}

namespace cpu {
void IndexerTopk(const IndexerTopkArgs& args, Stream& stream);
}
namespace fast {
void IndexerTopk(const IndexerTopkArgs& args, Stream& stream);
}
namespace cuda {
void IndexerTopk(const IndexerTopkArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
