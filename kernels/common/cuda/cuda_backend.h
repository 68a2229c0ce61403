// SPDX-License-Identifier: Apache-2.0
// CudaBackend: the memory and the queues of one GPU.
//
// Streams are queues of their own that no default stream waits for; CopyNow and CopyManyNow use
// the calling thread's. Every call makes the GPU the calling thread's current one, so a thread that
// launches operations calls MakeStream first. A CUDA error that is no full memory and in no stream
// is fatal.
#pragma once

#include <memory>
#include <string>

#include "kernels/common/backend/backend.h"

namespace tandem::kernels {

// Of GPU number `index`, which exists; `name` is what it calls itself in a log.
std::unique_ptr<Backend> MakeCudaBackend(int index, const std::string& name);

}  // namespace tandem::kernels
