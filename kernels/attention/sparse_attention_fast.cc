// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention/key_list.h"
#include "kernels/attention/lanes.h"
#include "kernels/attention/sparse_attention.h"
#include "kernels/rope/rope.h"

namespace tandem::kernels {
namespace {

struct Head {
  const float* q;
  const float* keys;  // [n, 512]
  int64_t n;
  float sink;
  float scale;
  float* p;  // [n], scratch
  Bf16* out;
};

// out[d] = Σ_i p[i]·keys[i,d], each d in ascending i. Four keys a pass, so that an output is loaded
// once for four.
void WeightedSum(const float* p, const float* keys, int64_t n, float* out) {
  std::fill_n(out, kHeadDim, 0.0f);
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const float* k = keys + i * kHeadDim;
    const float a = p[i], b = p[i + 1], c = p[i + 2], e = p[i + 3];
    for (int d = 0; d < kHeadDim; ++d) {
      out[d] = (((out[d] + a * k[d]) + b * k[kHeadDim + d]) + c * k[2 * kHeadDim + d]) +
               e * k[3 * kHeadDim + d];
    }
  }
  for (; i < n; ++i) {
    for (int d = 0; d < kHeadDim; ++d) out[d] += p[i] * keys[i * kHeadDim + d];
  }
}

float OneHead(const Head& head) {
  float most = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < head.n; ++i) {
    head.p[i] = Dot(head.q, head.keys + i * kHeadDim, kHeadDim) * head.scale;
    most = std::max(most, head.p[i]);
  }
  float sum = 0;
  for (int64_t i = 0; i < head.n; ++i) {
    const float p = std::exp(head.p[i] - most);
    sum += p;
    head.p[i] = RoundBf16(p);
  }
  const float den = sum + std::exp(head.sink - most);
  float out[kHeadDim];
  WeightedSum(head.p, head.keys, head.n, out);
  for (int d = 0; d < kHeadDim; ++d) head.out[d] = ToBf16(out[d] / den);
  return most + std::log(sum);
}

}  // namespace

namespace fast {

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
      float lse = -std::numeric_limits<float>::infinity();
      if (n == 0) {
        std::fill_n(out, kHeadDim, Bf16{0});
      } else {
        float q[kHeadDim];
        for (int d = 0; d < kHeadDim; ++d) q[d] = ToFloat(args.q.row(t)[h * kHeadDim + d]);
        lse = OneHead({.q = q,
                       .keys = keys,
                       .n = n,
                       .sink = args.sink[h],
                       .scale = args.scale,
                       .p = p,
                       .out = out});
      }
      if (args.cos.data != nullptr) {
        Rotate64(out + kNopeDim, args.cos.row(t), args.sin.row(t), /*inverse=*/true);
      }
      if (args.lse.data != nullptr) args.lse.row(t)[h] = lse;
    }
  }
}

}  // namespace fast

}  // namespace tandem::kernels
