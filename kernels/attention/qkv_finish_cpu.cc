// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/kv_write.h"
#include "kernels/attention/qkv_finish.h"
#include "kernels/norm/head_norm.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/rope/rope.h"

namespace tandem::kernels {
namespace {

void FinishWith(void (*compressor)(const CompressorArgs& args, Stream& stream),
                const QkvFinishArgs& args, Stream& stream) {
  CheckQkvFinish(args);
  cpu::HeadNorm({.q = args.q, .eps = args.eps}, stream);
  cpu::Rope({.x = args.q, .cos = args.cos, .sin = args.sin}, stream);
  Scratch scratch(stream);
  const int64_t tokens = args.kv.shape[0];
  const TensorView<Bf16, 2> kv{scratch.Take<Bf16>(args.kv.size()), {tokens, kHeadDim}};
  cpu::RmsNorm({.x = args.kv, .weight = args.kv_weight, .eps = args.eps, .y = kv}, stream);
  cpu::Rope({.x = {kv.data, {tokens, 1, kHeadDim}}, .cos = args.cos, .sin = args.sin}, stream);
  cpu::KvWrite({.kv = kv, .index = args.index, .rows = args.rows}, stream);
  if (args.commit.ring.base != nullptr) cpu::WindowCommit(args.commit, stream);
  if (args.compressor.u.data != nullptr) compressor(args.compressor, stream);
  if (args.indexer.u.data != nullptr) compressor(args.indexer, stream);
  if (args.index_query.x.data != nullptr) cpu::IndexQuery(args.index_query, stream);
}

}  // namespace

namespace cpu {

void QkvFinish(const QkvFinishArgs& args, Stream& stream) {
  FinishWith(Compressor, args, stream);
}

}  // namespace cpu

namespace fast {

void QkvFinish(const QkvFinishArgs& args, Stream& stream) {
  FinishWith(Compressor, args, stream);
}

}  // namespace fast

}  // namespace tandem::kernels
