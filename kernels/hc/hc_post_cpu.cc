// SPDX-License-Identifier: Apache-2.0
#include "kernels/hc/hc_post.h"

namespace tandem::kernels {
namespace cpu {

void HcPost(const HcPostArgs& args, Stream& /*stream*/) {
  CheckHcPost(args);
  const int64_t m = args.streams.shape[1], dim = args.streams.shape[2];
  for (int64_t t = 0; t < args.streams.shape[0]; ++t) {
    Bf16* streams = args.streams.row(t);
    const float* comb = args.comb.row(t);
    for (int64_t d = 0; d < dim; ++d) {
      const float y = ToFloat(args.y.row(t)[d]);
      float old[kMaxStreams];
      for (int64_t i = 0; i < m; ++i) old[i] = ToFloat(streams[i * dim + d]);
      for (int64_t j = 0; j < m; ++j) {
        float sum = 0;
        for (int64_t i = 0; i < m; ++i) sum += comb[i * m + j] * old[i];
        streams[j * dim + d] = ToBf16(args.post.row(t)[j] * y + sum);
      }
    }
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
