// SPDX-License-Identifier: Apache-2.0
// Shared memory of a block above the 48 KiB that a kernel has without asking, static and dynamic
// bytes together. Thread-safe. Internal to launch.h.
#pragma once

#include <cstdint>

namespace tandem::kernels::cuda {

// What SM120 gives a block; everything is built for it, so that what fits on Hopper fits there.
inline constexpr int kMaxSharedBytes = 101376;

// The static bytes of a kernel (its host symbol) on the current device. A thread's first question
// about a kernel raises its limit, so that kMaxSharedBytes less these may be dynamic; later ones
// ask the driver nothing. 0 where the driver refuses: the launch then fails and says why.
int64_t AllowDynamicShared(const void* kernel);

}  // namespace tandem::kernels::cuda
