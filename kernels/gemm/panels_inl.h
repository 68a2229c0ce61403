// SPDX-License-Identifier: Apache-2.0
// Bodies of kernels/gemm/panels.h.
#pragma once

#include <algorithm>
#include <cstring>

namespace tandem::kernels {
namespace panels {

using F4 = float __attribute__((vector_size(16)));
using U4 = uint32_t __attribute__((vector_size(16)));
inline constexpr int64_t kBlock = 128;  // products summed before they join the total

inline U4 Load(const uint8_t* p) {
  U4 v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

// kTokens x kPanels·16 outputs over all of K: total[token][panel·4 + vector].
template <int kTokens, int kPanels>
inline void Tile(const PanelProduct& a, const uint8_t* panel, const float* x,
                 F4 (&total)[kTokens][4 * kPanels]) {
  for (int t = 0; t < kTokens; ++t) {
    for (int v = 0; v < 4 * kPanels; ++v) total[t][v] = F4{};
  }
  for (int64_t begin = 0; begin < a.k; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, a.k);
    F4 part[kTokens][4 * kPanels] = {};
    for (int64_t k = begin; k < end; ++k) {
      for (int p = 0; p < kPanels; ++p) {
        const uint8_t* word = panel + p * PanelBytes(a.k) + 32 * k;
        const U4 w0 = Load(word), w1 = Load(word + 16);
        const F4 w[4] = {reinterpret_cast<F4>(w0 << 16), reinterpret_cast<F4>(w1 << 16),
                         reinterpret_cast<F4>(w0 & 0xFFFF0000u),
                         reinterpret_cast<F4>(w1 & 0xFFFF0000u)};
        for (int t = 0; t < kTokens; ++t) {
          const float value = x[t * a.x_stride + k];
          for (int v = 0; v < 4; ++v) part[t][4 * p + v] += value * w[v];
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      for (int v = 0; v < 4 * kPanels; ++v) total[t][v] += part[t][v];
    }
  }
}

template <int kTokens, int kPanels, typename Store>
inline void TileAndStore(const PanelProduct& a, int64_t n, int64_t t, const Store& store) {
  F4 total[kTokens][4 * kPanels];
  Tile<kTokens, kPanels>(a, a.panels + n / kPanelRows * PanelBytes(a.k), a.x + t * a.x_stride,
                         total);
  for (int i = 0; i < kTokens; ++i) {
    for (int p = 0; p < kPanels; ++p) {
      float values[kPanelRows];
      std::memcpy(values, &total[i][4 * p], sizeof(values));
      const int64_t first = n + p * kPanelRows;
      store(t + i, first, values, std::min(kPanelRows, a.n - first));
    }
  }
}

}  // namespace panels

template <typename Store>
void MultiplyPanels(const PanelProduct& product, const Store& store) {
  int64_t n = 0;
  // Two panels a pass keep the adders of one token busy; two tokens of one panel fill the
  // registers.
  if (product.tokens == 1) {
    for (; n + 2 * kPanelRows <= product.n; n += 2 * kPanelRows) {
      panels::TileAndStore<1, 2>(product, n, 0, store);
    }
  }
  for (; n < product.n; n += kPanelRows) {
    int64_t t = 0;
    for (; t + 2 <= product.tokens; t += 2) panels::TileAndStore<2, 1>(product, n, t, store);
    if (t < product.tokens) panels::TileAndStore<1, 1>(product, n, t, store);
  }
}

}  // namespace tandem::kernels
