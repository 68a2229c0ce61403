// SPDX-License-Identifier: Apache-2.0
// A warp's ring of steps of weights in shared memory.
//
// One lane asks for a whole step by a bulk copy, and its bytes end a phase of the slot's barrier;
// nobody else waits for anybody. Loads of inputs do not stand behind such copies as they did behind
// cp.async's, and a warp spends two instructions on a step. Internal to kernels/gemm.
#pragma once

#include <cstdint>

#include "kernels/gemm/fragment_order.h"
#include "kernels/ptx/async_stream.cuh"
#include "kernels/ptx/mbarrier.cuh"

namespace tandem::kernels::cuda {

template <int kDepth, int kStepBytes>
class StreamRing {
 public:
  static constexpr int kStep = kStepBytes;
  static constexpr int kBytes = kDepth * kStepBytes;
  static constexpr int kBarrierBytes = 8 * kDepth;

  // By the whole warp. `slots`: kBytes, aligned to 16; `barriers`: kBarrierBytes, aligned to 8.
  __device__ StreamRing(uint8_t* slots, uint8_t* barriers)
      : slots_(slots + kLoadBytes * ThreadLane()),
        copies_(ptx::SharedAddress(slots)),
        barriers_(ptx::SharedAddress(barriers)) {
    if (ThreadLane() == 0) {
#pragma unroll
      for (int s = 0; s < kDepth; ++s) ptx::InitMbarrier(barriers_ + 8 * s, 1);
      ptx::FenceMbarrierInit();
    }
    __syncwarp();
  }

  // A step's `bytes` to a slot that is free.
  __device__ void Fill(int slot, const uint8_t* from, int bytes = kStepBytes) {
    if (ThreadLane() != 0) return;
    ptx::ExpectMbarrier(barriers_ + 8 * slot, bytes);
    ptx::CopyBulkStream(copies_ + slot * kStepBytes, from, bytes, barriers_ + 8 * slot);
  }

  // This lane's part of the oldest step, once it is there.
  __device__ const uint8_t* Oldest() const {
    ptx::WaitMbarrier(barriers_ + 8 * slot_, parity_);
    return slots_ + slot_ * kStepBytes;
  }

  // The oldest step's slot, which is free from now on. `read`: of every load from it a word. A load
  // may wait behind others longer than a copy takes, which goes another way (16 tokens of wo_a came
  // out wrong once, perhaps by that), so it is not enough that loads have been asked for: this
  // needs what they brought, in every lane.
  __device__ int Free(uint32_t read) {
    uint32_t square;
    asm volatile("mul.lo.u32 %0, %1, %1;" : "=r"(square) : "r"(read) : "memory");
    // Bit 1 of a square is never set, which the compiler does not know.
    if (__any_sync(0xFFFFFFFFu, (square & 2) != 0)) __trap();
    const int slot = slot_;
    slot_ = slot + 1 == kDepth ? 0 : slot + 1;
    parity_ ^= static_cast<uint32_t>(slot_ == 0);
    return slot;
  }

 private:
  __device__ static int ThreadLane() {
    return static_cast<int>(threadIdx.x) % 32;
  }

  const uint8_t* slots_;
  uint32_t copies_, barriers_;
  int slot_ = 0;
  uint32_t parity_ = 0;
};

}  // namespace tandem::kernels::cuda
