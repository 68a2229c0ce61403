// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention/key_list.h"
#include "kernels/attention/sparse_attention.h"
#include "kernels/rope/rope.h"

namespace tandem::kernels {
namespace {

struct Head {
  const Bf16* q;
  const float* keys;  // [n, 512]
  int64_t n;
  float sink;
  float scale;
  float* p;  // [n], scratch
  Bf16* out;
};

float OneHead(const Head& head) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  if (head.n == 0) {
    std::fill_n(head.out, kHeadDim, Bf16{0});
    return kNone;
  }
  float most = kNone;
  for (int64_t i = 0; i < head.n; ++i) {
    double dot = 0;
    for (int d = 0; d < kHeadDim; ++d) {
      dot += static_cast<double>(ToFloat(head.q[d])) * head.keys[i * kHeadDim + d];
    }
    head.p[i] = static_cast<float>(dot) * head.scale;
    most = std::max(most, head.p[i]);
  }
  double sum = 0;
  for (int64_t i = 0; i < head.n; ++i) sum += head.p[i] = std::exp(head.p[i] - most);
  const float den = static_cast<float>(sum) + std::exp(head.sink - most);
  for (int d = 0; d < kHeadDim; ++d) {
    double value = 0;
    for (int64_t i = 0; i < head.n; ++i) {
      value += static_cast<double>(RoundBf16(head.p[i])) * head.keys[i * kHeadDim + d];
    }
    head.out[d] = ToBf16(static_cast<float>(value) / den);
  }
  return most + static_cast<float>(std::log(sum));
}

}  // namespace

namespace cpu {

void SparseAttention(const SparseAttentionArgs& args, Stream& stream) {
  CheckSparseAttention(args);
  Scratch scratch(stream);
  const int64_t capacity = KeyCapacity(args), heads = args.q.shape[1];
  float* keys = scratch.Take<float>(capacity * kHeadDim);
  float* p = scratch.Take<float>(capacity);
  for (int64_t t = 0; t < args.q.shape[0]; ++t) {
    const int64_t n = ReadKeys(args, t, keys);
    for (int64_t h = 0; h < heads; ++h) {
      Bf16* out = args.out.row(t) + h * kHeadDim;
      const float lse = OneHead({.q = args.q.row(t) + h * kHeadDim,
                                 .keys = keys,
                                 .n = n,
                                 .sink = args.sink[h],
                                 .scale = args.scale,
                                 .p = p,
                                 .out = out});
      if (args.cos.data != nullptr) {
        Rotate64(out + kNopeDim, args.cos.row(t), args.sin.row(t), /*inverse=*/true);
      }
      if (args.lse.data != nullptr) args.lse.row(t)[h] = lse;
    }
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
