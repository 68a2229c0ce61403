// SPDX-License-Identifier: Apache-2.0
#include "kernels/hc/hc_mix.h"

#include <algorithm>
#include <cmath>

#include "kernels/norm/mean_square.h"

namespace tandem::kernels {
namespace {

// C[j,k] /= Σ over k (rows) or over j (columns) + eps.
void NormaliseRows(float* comb, int64_t m, float eps) {
  for (int64_t j = 0; j < m; ++j) {
    float sum = 0;
    for (int64_t k = 0; k < m; ++k) sum += comb[j * m + k];
    for (int64_t k = 0; k < m; ++k) comb[j * m + k] /= sum + eps;
  }
}

void NormaliseColumns(float* comb, int64_t m, float eps) {
  for (int64_t k = 0; k < m; ++k) {
    float sum = 0;
    for (int64_t j = 0; j < m; ++j) sum += comb[j * m + k];
    for (int64_t j = 0; j < m; ++j) comb[j * m + k] /= sum + eps;
  }
}

void SoftmaxRow(float* row, int64_t m, float eps) {
  const float most = *std::max_element(row, row + m);
  float sum = 0;
  for (int64_t k = 0; k < m; ++k) sum += row[k] = std::exp(row[k] - most);
  for (int64_t k = 0; k < m; ++k) row[k] = row[k] / sum + eps;
}

float Sigmoid(float z) {
  return static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(z))));
}

// Steps 5 to 9 of one token: mixes m[(2+M)·M] → post[M], comb[M,M].
void SplitMixes(const HcPreArgs& args, const float* mixes, int64_t token) {
  const int64_t m = args.streams.shape[1];
  float* post = args.post.row(token);
  float* comb = args.comb.row(token);
  for (int64_t i = 0; i < m; ++i) {
    post[i] = 2 * Sigmoid(mixes[m + i] * args.scale[1] + args.base[m + i]);
  }
  for (int64_t i = 0; i < m * m; ++i) {
    comb[i] = mixes[2 * m + i] * args.scale[2] + args.base[2 * m + i];
  }
  for (int64_t j = 0; j < m; ++j) SoftmaxRow(comb + j * m, m, args.hc_eps);
  NormaliseColumns(comb, m, args.hc_eps);
  for (int i = 1; i < args.iterations; ++i) {
    NormaliseRows(comb, m, args.hc_eps);
    NormaliseColumns(comb, m, args.hc_eps);
  }
}

struct CollapseArgs {
  const float* mixes;
  TensorView<const float, 1> base;
  float scale;
  float eps;
  TensorView<const Bf16, 2> streams;  // [M, D]
  Bf16* out;                          // [D]
};

// Steps 4 and 10: m[M] → pre, and out[d] = bf( Σ_i pre[i]·streams[i,d] ).
void Collapse(const CollapseArgs& args) {
  const int64_t m = args.streams.shape[0], dim = args.streams.shape[1];
  float pre[kMaxStreams];
  for (int64_t i = 0; i < m; ++i) {
    pre[i] = Sigmoid(args.mixes[i] * args.scale + args.base[i]) + args.eps;
  }
  for (int64_t d = 0; d < dim; ++d) {
    float sum = 0;
    for (int64_t i = 0; i < m; ++i) sum += pre[i] * ToFloat(args.streams.row(i)[d]);
    args.out[d] = ToBf16(sum);
  }
}

}  // namespace

void HcPreWith(MixFunction mix, const HcPreArgs& args) {
  CheckHcPre(args);
  const int64_t m = args.streams.shape[1], dim = args.streams.shape[2];
  float mixes[(2 + kMaxStreams) * kMaxStreams];
  for (int64_t t = 0; t < args.streams.shape[0]; ++t) {
    const Bf16* streams = args.streams.row(t);
    mix(streams, args.fn, InverseRms(streams, m * dim, args.norm_eps), mixes);
    SplitMixes(args, mixes, t);
    Collapse({.mixes = mixes,
              .base = args.base,
              .scale = args.scale[0],
              .eps = args.hc_eps,
              .streams = {streams, {m, dim}},
              .out = args.x.row(t)});
  }
}

void HcHeadWith(MixFunction mix, const HcHeadArgs& args) {
  CheckHcHead(args);
  const int64_t m = args.streams.shape[1], dim = args.streams.shape[2];
  float mixes[kMaxStreams];
  for (int64_t t = 0; t < args.streams.shape[0]; ++t) {
    const Bf16* streams = args.streams.row(t);
    mix(streams, args.fn, InverseRms(streams, m * dim, args.norm_eps), mixes);
    Collapse({.mixes = mixes,
              .base = args.base,
              .scale = args.scale[0],
              .eps = args.hc_eps,
              .streams = {streams, {m, dim}},
              .out = args.x.row(t)});
  }
}

}  // namespace tandem::kernels
