// SPDX-License-Identifier: Apache-2.0
// hc_pre_norm_quant: the streams into a sub-layer's quantised input in one operation: hc_pre,
// rms_norm, act_quant.
//
// Math      x', post, comb = hc_pre( X );  x = rms_norm( x', norm );  q, s = act_quant( x )
// Shapes    X[T,M,D]  fn[(2+M)·M, M·D]  base[(2+M)·M]  scale[3]  norm[D]  →  x[T,D]  q[T,D]
//           s[T,D/128]  post[T,M]  comb[T,M,M]      M = hc_mult ≤ 8 (CUDA: 4), D a multiple of 128
//           (CUDA: at most 7,936)
// Layout    row-major; X, norm and x bf16, q E4M3, s UE8M0, the rest fp32.
// Numerics  those of the three, x' rounded to bf16 between them; norm_eps in both norms. CUDA: the
//           same bits as its three operations.
// Cost      2MD + 3D bytes a token and 4·(2+M)·M·M·D of fn, 2·(2+M)·M·M·D flop a token.
//           CUDA: one launch up to 16 tokens
// Roofline  D=4096, M=4: T=1 → 1.6 MB of fn → 0.4 µs: latency-bound; T=4096 → 184 MB → 43 µs at
//           4.3 TB/s
// Source    reference/deepseek_v4.md 3.0, 3.2 (steps 1–10), 4.2
#pragma once

#include "kernels/hc/hc_pre.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/quant/act_quant.h"

namespace tandem::kernels {

struct HcPreNormQuantArgs {
  TensorView<const Bf16, 3> streams;  // [T, M, D]
  TensorView<const float, 2> fn;      // [(2+M)·M, M·D]
  TensorView<const float, 1> base;    // [(2+M)·M]
  TensorView<const float, 1> scale;   // [3]
  TensorView<const Bf16, 1> norm;     // [D]
  float norm_eps = 0;
  float hc_eps = 0;
  int iterations = 0;            // hc_sinkhorn_iters
  TensorView<Bf16, 2> x;         // [T, D]
  TensorView<E4M3, 2> q;         // [T, D]
  TensorView<Ue8m0, 2> q_scale;  // [T, D/128]
  TensorView<float, 2> post;     // [T, M]
  TensorView<float, 3> comb;     // [T, M, M]

  HcPreArgs pre() const {
    return {.streams = streams,
            .fn = fn,
            .base = base,
            .scale = scale,
            .norm_eps = norm_eps,
            .hc_eps = hc_eps,
            .iterations = iterations,
            .x = x,
            .post = post,
            .comb = comb};
  }
};

inline void CheckHcPreNormQuant(const HcPreNormQuantArgs& args) {
  CheckHcPre(args.pre());
  CheckRmsNorm({.x = args.x, .weight = args.norm, .y = args.x});
  CheckActQuant({.x = args.x, .q = args.q, .scale = args.q_scale});
}

namespace cpu {
void HcPreNormQuant(const HcPreNormQuantArgs& args, Stream& stream);
}
namespace fast {
void HcPreNormQuant(const HcPreNormQuantArgs& args, Stream& stream);
}
namespace cuda {
void HcPreNormQuant(const HcPreNormQuantArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
