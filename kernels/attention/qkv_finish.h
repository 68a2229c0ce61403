// SPDX-License-Identifier: Apache-2.0
// qkv_finish: what stands between the projections and attention, at once: q and kv normed and
// rotated, kv written as a cache row; and what the layer has of compressors and indexer queries.
//
// Math      q[t,h] ← rope( head_norm(q[t,h]) )
//           row[index[t]] ← kv_write( rope( rms_norm(kv[t]) ) )
//           where given: window_commit, compressor, compressor of the indexer, index_query
// Shapes    q[T,H,512] in place  kv[T,512]  kv_weight[512]  cos[T,32]  sin[T,32]  index[T]  →  rows
// Layout    row-major bf16, tables fp32 (rope_table); split pages of common/paged_rows.h; index
//           −1: the row is not written.
//           commit: its chunk is `rows`, index[t] is t, and every sequence has one token, so that
//           no token of the step attends to the ring's row that another one takes.
// Numerics  those of the operations it stands for: of head_norm, rms_norm, rope and kv_write with
//           their roundings to bf16 between; CUDA: the mean square of q in fp32, of kv in fp64;
//           fixed order. The other parts have the same bits as alone.
// Cost      2,048·H + 1,608 bytes a token: memory-bound
// Roofline  H=32: T=8192 → 550 MB → 115 µs at 4.8 TB/s; T=64 → launch-bound
// Source    reference/deepseek_v4.md 3.3, 3.4, 4.3
#pragma once

#include <cstdint>

#include "kernels/attention/compressor.h"
#include "kernels/attention/window_commit.h"
#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/paged_rows.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"
#include "kernels/quant/index_query.h"

namespace tandem::kernels {

struct QkvFinishArgs {
  TensorView<Bf16, 3> q;                // [T, H, 512]
  TensorView<const Bf16, 2> kv;         // [T, 512]
  TensorView<const Bf16, 1> kv_weight;  // [512]
  TensorView<const float, 2> cos;       // [T, 32]
  TensorView<const float, 2> sin;       // [T, 32]
  float eps = 0;
  TensorView<const int32_t, 1> index;  // [T] flat rows, distinct or -1
  KvPages rows;
  // Without a base or data: not wanted.
  WindowCommitArgs commit;
  CompressorArgs compressor;
  CompressorArgs indexer;
  IndexQueryArgs index_query;
};

inline void CheckQkvFinish(const QkvFinishArgs& args) {
  const int64_t tokens = args.kv.shape[0];
  KERNEL_CHECK_EQ(args.q.shape[0], tokens);
  KERNEL_CHECK_EQ(args.q.shape[2], kHeadDim);
  KERNEL_CHECK_EQ(args.kv.shape[1], kHeadDim);
  KERNEL_CHECK_EQ(args.kv_weight.shape[0], kHeadDim);
  KERNEL_CHECK_EQ(args.cos.shape[0], tokens);
  KERNEL_CHECK_EQ(args.sin.shape[0], tokens);
  KERNEL_CHECK_EQ(args.cos.shape[1], kRopeDim / 2);
  KERNEL_CHECK_EQ(args.sin.shape[1], kRopeDim / 2);
  KERNEL_CHECK_EQ(args.index.shape[0], tokens);
  if (args.commit.ring.base != nullptr) {
    CheckWindowCommit(args.commit);
    KERNEL_CHECK_EQ(args.commit.batch.tokens(), tokens);
    KERNEL_CHECK_EQ(args.commit.batch.sequences(), tokens);
    KERNEL_CHECK(args.commit.chunk.base == args.rows.base);
  }
  if (args.compressor.u.data != nullptr) CheckCompressor(args.compressor);
  if (args.indexer.u.data != nullptr) CheckCompressor(args.indexer);
  if (args.index_query.x.data != nullptr) CheckIndexQuery(args.index_query);
}

namespace cpu {
void QkvFinish(const QkvFinishArgs& args, Stream& stream);
}
namespace fast {
void QkvFinish(const QkvFinishArgs& args, Stream& stream);
}
namespace cuda {
void QkvFinish(const QkvFinishArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
