// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/comm/all_reduce.h"

namespace tandem::kernels {
namespace cpu {

void AllReduce(const AllReduceArgs& args, Stream& stream) {
  CheckAllReduce(args);
  KERNEL_CHECK_EQ(args.peers.ranks, 1);
  if (args.y.data != nullptr && args.y.data != args.x.data) {
    std::copy_n(args.x.data, args.x.size(), args.y.data);
  }
  if (args.post.streams.data == nullptr) return;
  HcPostArgs post = args.post;
  post.y = args.x;
  HcPost(post, stream);
  if (args.next.x.data != nullptr) HcPreNormQuant(args.next, stream);
}

}  // namespace cpu
}  // namespace tandem::kernels
