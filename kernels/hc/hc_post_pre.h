// SPDX-License-Identifier: Apache-2.0
// hc_post_pre: from one sub-layer's output to the next one's quantised input in one operation:
// hc_post, then hc_pre_norm_quant of the streams it leaves.
//
// Math      X ← hc_post( y, post, comb, X );  x, q, s, post', comb' = hc_pre_norm_quant( X )
// Shapes    y[T,D]  post[T,M]  comb[T,M,M]  X[T,M,D], in place, and hc_pre_norm_quant's
// Layout    hc_post's and hc_pre_norm_quant's. `next.streams` is `post.streams`; post' and comb'
//           may be post and comb.
// Numerics  those of the two. CUDA: the same bits as its two operations.
// Cost      4MD + 5D bytes a token and 4·(2+M)·M·M·D of fn, 2·M·D·(M+1 + (2+M)·M) flop a token
// Roofline  D=4096, M=4: T=1 → 1.7 MB → 0.4 µs: latency-bound; T=4096 → 352 MB → 82 µs at 4.3 TB/s
// Source    reference/deepseek_v4.md 3.2
#pragma once

#include "kernels/hc/hc_post.h"
#include "kernels/hc/hc_pre_norm_quant.h"

namespace tandem::kernels {

struct HcPostPreArgs {
  HcPostArgs post;          // of the sub-layer that has run
  HcPreNormQuantArgs next;  // of the one that follows
};

inline void CheckHcPostPre(const HcPostPreArgs& args) {
  CheckHcPost(args.post);
  CheckHcPreNormQuant(args.next);
  KERNEL_CHECK(args.post.streams.data == args.next.streams.data);
  KERNEL_CHECK_EQ(args.post.streams.size(), args.next.streams.size());
}

namespace cpu {
void HcPostPre(const HcPostPreArgs& args, Stream& stream);
}
namespace fast {
void HcPostPre(const HcPostPreArgs& args, Stream& stream);
}
namespace cuda {
void HcPostPre(const HcPostPreArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
