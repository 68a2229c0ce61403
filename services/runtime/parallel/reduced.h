// SPDX-License-Identifier: Apache-2.0
// What all_reduce does behind the sum, for communicators whose sum stands alone.
#pragma once

#include "kernels/kernel_table.h"

namespace tandem {

// hc_post of the whole y, and the next norm, as far as `args` asks for them.
inline void PostReduced(const kernels::KernelTable& table, const kernels::AllReduceArgs& args,
                        const kernels::TensorView<kernels::Bf16, 2>& y, kernels::Stream& stream) {
  if (args.post.streams.data == nullptr) return;
  kernels::HcPostArgs post = args.post;
  post.y = y;
  if (args.next.x.data == nullptr) return table.hc_post(post, stream);
  table.hc_post_pre({.post = post, .next = args.next}, stream);
}

}  // namespace tandem
