// SPDX-License-Identifier: Apache-2.0
// hc_post_pre: from one sub-layer's output to the next one's quantised input in one operation:
// hc_post, then hc_pre_norm_quant of the streams it leaves.
//
// Math      X ← hc_post( y, post, comb, X );  x, q, s, post', comb' = hc_pre_norm_quant( X )
//           with `peers` of R ranks: y = bf( Σ_r y_r ), as all_reduce has it
// Shapes    y[T,D]  post[T,M]  comb[T,M,M]  X[T,M,D], in place, and hc_pre_norm_quant's
// Layout    hc_post's and hc_pre_norm_quant's. `next.streams` is `post.streams`; post' and comb'
//           may be post and comb. With more ranks than one, which a device alone has, T is at most
//           kMostPeerTokens, and the call is the same on every rank (PeerGroup).
// Numerics  those of the two. CUDA: the same bits as its two operations, or three.
// Cost      4MD + 5D bytes a token and 4·(2+M)·M·M·D of fn, 2·M·D·(M+1 + (2+M)·M) flop a token.
//           CUDA: one launch up to 16 tokens
// Roofline  D=4096, M=4: T=1 → 1.7 MB → 0.4 µs: latency-bound; T=4096 → 352 MB → 82 µs at 4.3 TB/s
// Source    reference/deepseek_v4.md 3.2
#pragma once

#include "kernels/comm/peer_group.h"
#include "kernels/hc/hc_post.h"
#include "kernels/hc/hc_pre_norm_quant.h"

namespace tandem::kernels {

inline constexpr int64_t kMostPeerTokens = 16;

struct HcPostPreArgs {
  HcPostArgs post;          // of the sub-layer that has run
  HcPreNormQuantArgs next;  // of the one that follows
  PeerView peers;           // whose parts of y are summed; by default y is whole
};

inline void CheckHcPostPre(const HcPostPreArgs& args) {
  CheckHcPost(args.post);
  CheckHcPreNormQuant(args.next);
  KERNEL_CHECK(args.post.streams.data == args.next.streams.data);
  KERNEL_CHECK_EQ(args.post.streams.size(), args.next.streams.size());
  if (args.peers.ranks > 1) KERNEL_CHECK_LE(args.post.y.shape[0], kMostPeerTokens);
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
