// SPDX-License-Identifier: Apache-2.0
// What a link does on its own: one way of a word between two devices' blocks.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace tandem::kernels {

struct PingPong {
  uint32_t* own = nullptr;     // a zeroed word on this rank's device
  uint32_t* peer = nullptr;    // on the other's
  uint32_t* played = nullptr;  // rounds so far, this rank's: words are never reset
  bool first = false;          // one of the two begins
  uint32_t rounds = 0;         // there and back
};

// Queues this rank's half, which gives up after about a second.
void QueuePingPong(const PingPong& args, cudaStream_t queue);

}  // namespace tandem::kernels
