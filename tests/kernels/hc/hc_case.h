// SPDX-License-Identifier: Apache-2.0
// Random hyper-connections of one size, on the host and on the device: what the tests of the CUDA
// table's hc operations share. Mixes come out around 1, as a trained model's do.
#pragma once

#include <cmath>

#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {

struct HcCase {
  HcCase(int64_t tokens, int64_t dim, int64_t mixes, Random& random)
      : tokens(tokens),
        dim(dim),
        streams(tokens, 4, dim),
        fn(mixes, 4 * dim),
        base(mixes),
        scale(mixes == 4 ? 1 : 3),
        norm(dim),
        y(tokens, dim),
        post(tokens, 4),
        comb(tokens, 4, 4) {
    random.Fill(streams, 2);
    random.Fill(fn, 1 / std::sqrt(static_cast<float>(4 * dim)));
    random.Fill(base, 0.5f);
    for (float& s : scale.values) s = 0.5f + std::abs(random.Normal());
    random.Fill(norm);
    random.Fill(y, 2);
    random.Fill(post);
    random.Fill(comb);
  }

  int64_t tokens, dim;
  Tensor<Bf16, 3> streams;
  Tensor<float, 2> fn;
  Tensor<float, 1> base, scale;
  Tensor<Bf16, 1> norm;
  Tensor<Bf16, 2> y;
  Tensor<float, 2> post;
  Tensor<float, 3> comb;
};

// The same on the device, with poisoned places for results.
struct HcDeviceCase {
  explicit HcDeviceCase(const HcCase& host)
      : streams(host.streams),
        fn(host.fn),
        base(host.base),
        scale(host.scale),
        norm(host.norm),
        y(host.y),
        post(host.post),
        comb(host.comb),
        x(Tensor<Bf16, 2>(host.tokens, host.dim).Poison()),
        q(Tensor<E4M3, 2>(host.tokens, host.dim).Poison()),
        q_scale(Tensor<Ue8m0, 2>(host.tokens, host.dim / 128).Poison()),
        next_post(Tensor<float, 2>(host.tokens, 4).Poison()),
        next_comb(Tensor<float, 3>(host.tokens, 4, 4).Poison()) {}

  HcPreArgs Pre() const { return PreNormQuant().pre(); }
  HcPreNormQuantArgs PreNormQuant() const {
    return {.streams = streams,
            .fn = fn,
            .base = base,
            .scale = scale,
            .norm = norm,
            .norm_eps = 1e-6f,
            .hc_eps = 1e-6f,
            .iterations = 20,
            .x = x,
            .q = q,
            .q_scale = q_scale,
            .post = next_post,
            .comb = next_comb};
  }
  HcPostArgs Post() const { return {.y = y, .post = post, .comb = comb, .streams = streams}; }

  DeviceTensor<Bf16, 3> streams;
  DeviceTensor<float, 2> fn;
  DeviceTensor<float, 1> base, scale;
  DeviceTensor<Bf16, 1> norm;
  DeviceTensor<Bf16, 2> y;
  DeviceTensor<float, 2> post;
  DeviceTensor<float, 3> comb;
  DeviceTensor<Bf16, 2> x;
  DeviceTensor<E4M3, 2> q;
  DeviceTensor<Ue8m0, 2> q_scale;
  DeviceTensor<float, 2> next_post;
  DeviceTensor<float, 3> next_comb;
};

// The same bytes, and the first place where they differ.
template <typename T>
void ExpectSameBits(const std::vector<T>& a, const std::vector<T>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(std::memcmp(&a[i], &b[i], sizeof(T)), 0) << "at " << i;
  }
}

}  // namespace tandem::kernels
