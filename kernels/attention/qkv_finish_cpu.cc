// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/kv_write.h"
#include "kernels/attention/qkv_finish.h"
#include "kernels/norm/head_norm.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/rope/rope.h"

namespace tandem::kernels {
namespace cpu {

void QkvFinish(const QkvFinishArgs& args, Stream& stream) {
  CheckQkvFinish(args);
  HeadNorm({.q = args.q, .eps = args.eps}, stream);
  Rope({.x = args.q, .cos = args.cos, .sin = args.sin}, stream);
  Scratch scratch(stream);
  const int64_t tokens = args.kv.shape[0];
  const TensorView<Bf16, 2> kv{scratch.Take<Bf16>(args.kv.size()), {tokens, kHeadDim}};
  RmsNorm({.x = args.kv, .weight = args.kv_weight, .eps = args.eps, .y = kv}, stream);
  Rope({.x = {kv.data, {tokens, 1, kHeadDim}}, .cos = args.cos, .sin = args.sin}, stream);
  KvWrite({.kv = kv, .index = args.index, .rows = args.rows}, stream);
}

}  // namespace cpu

}  // namespace tandem::kernels
