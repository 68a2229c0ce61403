// SPDX-License-Identifier: Apache-2.0
#include "kernels/comm/peer_exchange.cuh"
#include "tests/bench/services/runtime/parallel/ping_pong.h"

namespace tandem::kernels {
namespace {

constexpr int64_t kCycles = int64_t{2'000'000'000};

__global__ void Play(PingPong args) {
  const int64_t start = clock64();
  const uint32_t before = *args.played;
  *args.played = before + args.rounds;
  for (uint32_t round = before + 1; round <= before + args.rounds; ++round) {
    if (args.first) cuda::StoreRelease(args.peer, round);
    while (cuda::LoadAcquire(args.own) < round) {
      if (clock64() - start > kCycles) return;
    }
    if (!args.first) cuda::StoreRelease(args.peer, round);
  }
}

}  // namespace

void QueuePingPong(const PingPong& args, cudaStream_t queue) {
  Play<<<1, 1, 0, queue>>>(args);
}

}  // namespace tandem::kernels
