// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/hc/hc_embed.h"

namespace tandem::kernels {
namespace cpu {

void HcEmbed(const HcEmbedArgs& args, Stream& /*stream*/) {
  CheckHcEmbed(args);
  const int64_t dim = args.embed.shape[1];
  for (int64_t t = 0; t < args.tokens.shape[0]; ++t) {
    KERNEL_CHECK_GE(args.tokens[t], 0);
    KERNEL_CHECK_LE(args.tokens[t], args.embed.shape[0] - 1);
    for (int64_t i = 0; i < args.streams.shape[1]; ++i) {
      std::copy_n(args.embed.row(args.tokens[t]), dim, args.streams.row(t) + i * dim);
    }
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
