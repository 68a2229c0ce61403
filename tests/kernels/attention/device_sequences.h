// SPDX-License-Identifier: Apache-2.0
// A batch on the device: the copy of a batch on the host.
#pragma once

#include <vector>

#include "kernels/common/batch.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {

class DeviceSequences {
 public:
  explicit DeviceSequences(const Batch& host)
      : bytes_(4 * (host.positions.size() + host.sequence.size() + host.begin.size() +
                    host.slot.size() + host.pages.size())),
        batch(host) {
    int64_t at = 0;
    Move(&batch.positions, &at);
    Move(&batch.sequence, &at);
    Move(&batch.begin, &at);
    Move(&batch.slot, &at);
    Move(&batch.pages, &at);
  }

 private:
  template <int kRank>
  void Move(TensorView<const int32_t, kRank>* view, int64_t* at) {
    bytes_.Write(view->data, 4 * view->size(), *at);
    view->data = reinterpret_cast<const int32_t*>(bytes_.data() + *at);
    *at += 4 * view->size();
  }
  DeviceBytes bytes_;

 public:
  Batch batch;
};

}  // namespace tandem::kernels
