// SPDX-License-Identifier: Apache-2.0
// all_reduce: the sum of the ranks' partial outputs, on every rank; with hc_post behind it if
// wanted, and behind that the next sub-layer's hc_pre_norm_quant.
//
// Math      y[t,d] = bf( Σ_r x_r[t,d] ), r ascending;  with `post`: X ← hc_post( y, post, comb, X )
//           with `next` as well: x', q, s, post', comb' = hc_pre_norm_quant( X )
// Shapes    x[T,D] this rank's  →  y[T,D] or, with post, X[T,M,D] in place
// Layout    row-major; x and y bf16, y may be x; post as in hc_post.h (its y is not read), M = 4
//           and D a multiple of 8 on a device; y optional with post, none with next, which is as in
//           hc_post_pre.h. PeerGroup: the same call on every rank.
// Numerics  fp32 sum in ascending rank order, one rounding: the same bits on all ranks and in every
//           run, whatever the other tokens. hc_post's own numerics, and hc_post_pre's. CPU tables:
//           one rank, so a rounding that changes nothing.
// Cost      2D·(R + 1) bytes a token read, of which R − 1 parts from peers, and 4D written
// Roofline  D=4096, R=2: T=1 → 8 KB: latency-bound, one store over the link (CUDA: pushed up to
//           256 / R tokens, pulled beyond); T=4096 → 34 MB each way → 75 µs at NVLink's 450 GB/s
// Source    reference/sm120.md 3.7, 5.3
#pragma once

#include "kernels/comm/peer_group.h"
#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"
#include "kernels/hc/hc_post_pre.h"

namespace tandem::kernels {

struct AllReduceArgs {
  TensorView<const Bf16, 2> x;  // [T, D]
  TensorView<Bf16, 2> y;        // [T, D]; optional with post
  HcPostArgs post;              // streams null: no hc_post
  HcPreNormQuantArgs next;      // x null: none
  PeerView peers;
};

inline void CheckAllReduce(const AllReduceArgs& args) {
  KERNEL_CHECK_GE(args.peers.ranks, 1);
  KERNEL_CHECK_LE(args.peers.ranks, kMaxPeers);
  KERNEL_CHECK(args.y.data != nullptr || args.post.streams.data != nullptr);
  if (args.y.data != nullptr) {
    KERNEL_CHECK_EQ(args.y.shape[0], args.x.shape[0]);
    KERNEL_CHECK_EQ(args.y.shape[1], args.x.shape[1]);
  }
  if (args.post.streams.data != nullptr) {
    HcPostArgs post = args.post;
    post.y = args.x;
    CheckHcPost(post);
  }
  if (args.next.x.data != nullptr) {
    KERNEL_CHECK(args.y.data == nullptr);
    KERNEL_CHECK(args.post.streams.data != nullptr);
  }
}

namespace cpu {
void AllReduce(const AllReduceArgs& args, Stream& stream);
}
namespace cuda {
void AllReduce(const AllReduceArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
