// SPDX-License-Identifier: Apache-2.0
// The fast product: y[T,N] = x[T,K]·Wᵀ in fp32 with weights kept as exact bf16 panels.
//
// A panel holds 16 outputs: for every k eight 32-bit words, word i = W[16p+i, k] | W[16p+i+8, k] <<
// 16, so that one shift and one mask make fp32 of them on any CPU. Half the bytes of fp32, which is
// what a one-token step waits for. Order of sums, for any T: products of 128 consecutive k from
// zero, ascending; then these, ascending. No fused multiply-add (the build sets -ffp-contract=off),
// so every x86-64 gives the same bits. Internal to kernels/gemm. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/gemm/linear_weight.h"

namespace tandem::kernels {

inline constexpr int64_t kPanelRows = 16;

struct PanelProduct {
  const uint8_t* panels;  // the first panel
  int64_t k;
  int64_t n;         // outputs; the last panel may be cut
  const float* x;    // [T, K]
  int64_t x_stride;  // floats from token to token
  int64_t tokens;
};

// Calls store(t, n, values, count): outputs n .. n+count−1 of token t, count ≤ 16.
template <typename Store>
void MultiplyPanels(const PanelProduct& product, const Store& store);

// Bytes of one panel.
constexpr int64_t PanelBytes(int64_t k) {
  return kPanelRows * 2 * k;
}

}  // namespace tandem::kernels

#include "kernels/gemm/panels_inl.h"
