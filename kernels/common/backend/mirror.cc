// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/backend/mirror.h"

#include <algorithm>

#include "kernels/common/contract.h"

namespace tandem::kernels {

void Mirror::Reset(int64_t room) {
  used_ = 0;
  if (room <= capacity_) return;
  Free();
  ++moves_;
  // Half as much again: sizes that creep upwards do not allocate at every step.
  capacity_ = room + room / 2;
  host_ = backend_.AllocateStaging(capacity_);
  device_ = backend_.Allocate(capacity_);
  KERNEL_CHECK(host_ != nullptr && device_ != nullptr);
}

int64_t Mirror::TakeBytes(int64_t bytes) {
  const int64_t at = used_;
  used_ += bytes;
  KERNEL_CHECK_LE(used_, capacity_);
  return at;
}

void Mirror::Free() {
  if (host_ != nullptr) backend_.ReleaseStaging(host_);
  if (device_ != nullptr) backend_.Release(device_);
  host_ = device_ = nullptr;
  capacity_ = 0;
}

}  // namespace tandem::kernels
