// SPDX-License-Identifier: Apache-2.0
// What a stream of the CUDA table is: operations in order on one device queue, scratch in its
// memory.
//
// A launch error is recorded in the stream when it happens; errors of running kernels come out of
// Synchronize. Scratch is taken with cudaMalloc, so the first step allocates and captured ones do
// not. Thread-compatible.
#pragma once

#include "kernels/common/stream.h"

namespace tandem::kernels {

// A stream on `queue`, a cudaStream_t of the current device, which the caller keeps alive.
Stream MakeDeviceStream(void* queue);

// Waits for all that was queued; records the device's error, if any, and returns stream.ok().
bool Synchronize(Stream& stream);

}  // namespace tandem::kernels
