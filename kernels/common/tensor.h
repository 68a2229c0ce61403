// SPDX-License-Identifier: Apache-2.0
// A borrowed, contiguous, row-major array of fixed rank: what every kernel argument is made of.
//
// Owns nothing, checks nothing, is copied freely. `data` null means "not wanted" where an
// operation's contract calls a view optional. The shape is a plain array because device code cannot
// index std::array.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/common/host_device.h"

namespace tandem::kernels {

template <typename T, int kRank>
struct TensorView {
  T* data = nullptr;
  int64_t shape[kRank] = {};

  // Elements in one step of the leading dimension.
  TANDEM_HOST_DEVICE int64_t row_size() const {
    int64_t n = 1;
    for (int i = 1; i < kRank; ++i) n *= shape[i];
    return n;
  }
  TANDEM_HOST_DEVICE int64_t size() const { return shape[0] * row_size(); }
  TANDEM_HOST_DEVICE T* row(int64_t i) const { return data + i * row_size(); }
  TANDEM_HOST_DEVICE T& operator[](int64_t i) const { return data[i]; }

  operator TensorView<const T, kRank>() const  // NOLINT: a view of T is a view of const T
      requires(!std::is_const_v<T>) {
    TensorView<const T, kRank> view{.data = data};
    for (int i = 0; i < kRank; ++i) view.shape[i] = shape[i];
    return view;
  }
};

}  // namespace tandem::kernels
