// SPDX-License-Identifier: Apache-2.0
// gather: the ranks' columns side by side on rank 0: logits of a head that is cut by vocabulary.
//
// Math      y[t, r·N + n] = x_r[t, n]
// Shapes    x[T,N] this rank's  →  y[T,R·N] on rank 0; no y on the others
// Layout    row-major fp32; N a multiple of 4 on a device. PeerGroup: the same call on every rank.
// Numerics  moves bits. CPU tables: one rank, so a copy.
// Cost      4N bytes a token written and read on a rank, 4·R·N written on rank 0, of which
//           4·(R − 1)·N have come over the link
// Roofline  Flash, V=129280, R=2: T=1 → 259 KB over the link → 0.6 µs at NVLink's 450 GB/s, so
//           latency-bound; T=64 → 16.5 MB → 37 µs
// Source    reference/deepseek_v4.md 2.5 (the head by vocabulary)
#pragma once

#include "kernels/comm/peer_group.h"
#include "kernels/common/contract.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct GatherArgs {
  TensorView<const float, 2> x;  // [T, N]
  TensorView<float, 2> y;        // [T, R·N]; null but on rank 0
  PeerView peers;
};

inline void CheckGather(const GatherArgs& args) {
  KERNEL_CHECK_GE(args.peers.ranks, 1);
  KERNEL_CHECK_LE(args.peers.ranks, kMaxPeers);
  if (args.y.data != nullptr) KERNEL_CHECK_EQ(args.y.shape[0], args.x.shape[0]);
}

namespace cpu {
void Gather(const GatherArgs& args, Stream& stream);
}
namespace cuda {
void Gather(const GatherArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
