// SPDX-License-Identifier: Apache-2.0
// A warp's products (tile_product.cuh) whose weights come through a ring in shared memory of its
// own: one lane asks for whole stages of two slots, across the end of a part of a matrix, so that
// as much is under way while the warp multiplies as while it waits. FP8's scales, a byte a stage,
// are loaded as they are needed.
// Internal to kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/moe/tile_product.cuh"
#include "kernels/ptx/async_stream.cuh"
#include "kernels/ptx/load_shared.cuh"
#include "kernels/ptx/mbarrier.cuh"

namespace tandem::kernels::cuda {

// kGaps: next() may not know yet what comes.
template <bool kGaps = false>
class WeightRing {
 public:
  static constexpr int kStages = 2, kStageSlots = 2;
  static constexpr int kTileBytes = kStageSlots * kSlotBytes;
  static constexpr int kScaleBytes = kStageSlots * kFp4ScaleBytes;
  static constexpr int kStageBytes = 2 * (kTileBytes + kScaleBytes);
  static constexpr int kRingBytes = kStages * kStageBytes + (8 * kStages + 15) / 16 * 16;

  // By the whole warp; `ring` is its own.
  __device__ __forceinline__ explicit WeightRing(uint8_t* ring) : ring_(ptx::SharedAddress(ring)) {
    if (threadIdx.x % 32 == 0) {
#pragma unroll
      for (int i = 0; i < kStages; ++i) ptx::InitMbarrier(Barrier(i), 1);
      ptx::FenceMbarrierInit();
    }
    __syncwarp();
  }

  // Asks for the first stages of a part.
  __device__ __forceinline__ void Start(const Part& part) {
    MoveTo(part);
    while (ahead_ < kStages && left_ > 0) AskStage();
  }

  // Asks for as much as the ring takes. next() returns the part behind the last one it returned, of
  // kNoMore slots if there is none. kGaps: or of kNotYet; Fill comes again before the next Run.
  template <typename Next>
  __device__ __forceinline__ void Fill(bool, const Next& next) {
    while (ahead_ < kStages && Ask(next)) {
    }
  }

  // Adds the products of the next part that was asked for; it has `slots` slots. `fp8_scales` are
  // its tiles' scales.
  template <typename Next, typename Input>
  __device__ __forceinline__ void Run(int slots, bool fp4, const uint8_t* const (&fp8_scales)[2],
                                      const Next& next, const Input& input, float (&sum)[2][4]) {
    if (fp4) {
      RunFormat<true>(slots, fp8_scales, next, input, sum);
    } else {
      RunFormat<false>(slots, fp8_scales, next, input, sum);
    }
  }

 private:
  __device__ uint32_t Stage(int i) const {
    return ring_ + i * kStageBytes;
  }
  __device__ uint32_t Barrier(int i) const {
    return ring_ + kStages * kStageBytes + 8 * i;
  }

  __device__ __forceinline__ void MoveTo(const Part& part) {
#pragma unroll
    for (int i = 0; i < 2; ++i) codes_[i] = part.codes[i], scales_[i] = part.scales[i];
    left_ = part.slots;
    fp4_ = part.fp4;
  }

  __device__ __forceinline__ void AskStage() {
    const int slots = min(left_, kStageSlots);
    const auto bytes = static_cast<uint32_t>(slots * kSlotBytes);
    const auto scale_bytes = static_cast<uint32_t>(fp4_ ? slots * kFp4ScaleBytes : 0);
    if (threadIdx.x % 32 == 0) {
      const int i = (get_ + ahead_) % kStages;
      const uint32_t stage = Stage(i), barrier = Barrier(i);
      ptx::ExpectMbarrier(barrier, 2 * (bytes + scale_bytes));
      ptx::CopyBulkStream(stage, codes_[0], bytes, barrier);
      ptx::CopyBulkStream(stage + kTileBytes, codes_[1], bytes, barrier);
      if (fp4_) {
        ptx::CopyBulkStream(stage + 2 * kTileBytes, scales_[0], scale_bytes, barrier);
        ptx::CopyBulkStream(stage + 2 * kTileBytes + kScaleBytes, scales_[1], scale_bytes, barrier);
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) codes_[i] += bytes, scales_[i] += scale_bytes;
    left_ -= slots;
    ++ahead_;
  }

  template <typename Next>
  __device__ __forceinline__ bool Ask(const Next& next) {
    while (left_ == 0) {
      const Part part = next();
      if (kGaps && part.slots == kNotYet) return false;
      MoveTo(part);
    }
    if (left_ == kNoMore) return false;
    AskStage();
    return true;
  }

  template <bool kFp4, typename Next, typename Input>
  __device__ __forceinline__ void RunFormat(int slots, const uint8_t* const (&fp8_scales)[2],
                                            const Next& next, const Input& input,
                                            float (&sum)[2][4]) {
#pragma unroll 1
    for (int slot = 0; slot < slots; slot += kStageSlots) {
      const int count = min(slots - slot, kStageSlots);
      if (kGaps && count == kStageSlots) {
        RunStage<kFp4, true>(slot, count, fp8_scales, input, sum);
      } else {
        RunStage<kFp4, false>(slot, count, fp8_scales, input, sum);
      }
      __syncwarp();  // the stage has been read
      --ahead_;
      if (++get_ == kStages) get_ = 0, phase_ ^= 1;
      Ask(next);
    }
  }

  // The products of the next stage's `count` slots. kWhole: of all there may be, in one piece,
  // whose input is asked for before its weights are there.
  template <bool kFp4, bool kWhole, typename Input>
  __device__ __forceinline__ void RunStage(int slot, int count,
                                           const uint8_t* const (&fp8_scales)[2],
                                           const Input& input, float (&sum)[2][4]) {
    constexpr int kSlotColumns = kFp4 ? kGroupColumns : kGroupColumns / 2;
    const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4;
    uint32_t bytes[2];
    if constexpr (!kFp4) {
#pragma unroll
      for (int i = 0; i < 2; ++i) bytes[i] = __ldg(fp8_scales[i] + slot / 2);
    }
    input.template Prepare<kSlotColumns>(slot);
    const auto codes_at = [&](int b) -> CodesAt {
      return {input.template Codes<kSlotColumns>(slot + b)};
    };
    const auto scale_at = [&](int b) { return input.Scales(kFp4 ? slot + b : slot / 2); };
    uint4 codes[kStageSlots][kSlotColumns / kTileColumns];
    float2 scale[kStageSlots];
    if constexpr (kWhole) {
#pragma unroll
      for (int b = 0; b < kStageSlots; ++b) {
        LoadCodes(codes_at(b), codes[b]);
        scale[b] = scale_at(b);
      }
    }
    ptx::WaitMbarrier(Barrier(get_), phase_);
    const uint32_t stage = Stage(get_);
#pragma unroll
    for (int b = 0; b < kStageSlots; ++b) {
      if (!kWhole && b >= count) break;
      uint4 buffer[2 * kSlotLoads];
      uint32_t row_words[2][2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int l = 0; l < kSlotLoads; ++l) {
          buffer[kSlotLoads * i + l] = ptx::LoadShared16(stage + i * kTileBytes + b * kSlotBytes +
                                                         l * kWarpLoadBytes + lane * kLoadBytes);
        }
        if constexpr (kFp4) {
          const uint32_t at = stage + 2 * kTileBytes + i * kScaleBytes + b * kFp4ScaleBytes + 4 * g;
          row_words[i][0] = TurnForScales(ptx::LoadShared4(at));
          row_words[i][1] = TurnForScales(ptx::LoadShared4(at + kFp4ScaleBytes / 2));
        }
      }
      const auto add = [&](const auto& x, float2 x_scale) {
        if constexpr (kFp4) {
          AddFp4(buffer, row_words, x, x_scale, sum);
        } else {
          AddFp8(buffer, bytes, x, x_scale, sum);
        }
      };
      if constexpr (kWhole) {
        add(codes[b], scale[b]);
      } else {
        add(codes_at(b), scale_at(b));
      }
    }
  }

  uint32_t ring_;
  const uint8_t* codes_[2] = {};   // of what is to be asked for next
  const uint8_t* scales_[2] = {};  // of that
  int left_ = 0;                   // slots of its part, or kNoMore
  bool fp4_ = false;
  int ahead_ = 0;       // stages asked for
  int get_ = 0;         // the first of them
  uint32_t phase_ = 0;  // of its barrier
};

}  // namespace tandem::kernels::cuda
