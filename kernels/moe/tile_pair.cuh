// SPDX-License-Identifier: Apache-2.0
// A warp's products (tile_product.cuh) whose weights go from device memory straight into registers.
// Internal to kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/moe/tile_product.cuh"
#include "kernels/ptx/load.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kSlotsAhead = 2;  // under way

// The weights on their way.
class TilePair {
 public:
  static constexpr int kRingBytes = 0;

  TilePair() = default;
  __device__ explicit TilePair(uint8_t*) {}

  __device__ __forceinline__ void Start(const Part& part) {
    MoveTo(part);
    LoadWords(part.fp4, part.slots);
#pragma unroll
    for (int b = 0; b < kSlotsAhead; ++b) Load(part.slots, b);
  }

  // Before the first part, which may have been started. next() returns the part behind the last one
  // it returned, of kNoMore slots if there is none.
  template <typename Next>
  __device__ __forceinline__ void Fill(bool started, const Next& next) {
    if (!started) Start(next());
  }

  // Asks for what follows of `part`, which has just started, to be in L2.
  static __device__ __forceinline__ void PrefetchRest(const Part& part) {
    if (threadIdx.x % 32 != 0 || part.slots <= kSlotsAhead) return;
    const auto bytes = static_cast<uint32_t>((part.slots - kSlotsAhead) * kSlotBytes);
    ptx::PrefetchL2Bulk(part.codes[0] + kSlotsAhead * kSlotBytes, bytes);
    ptx::PrefetchL2Bulk(part.codes[1] + kSlotsAhead * kSlotBytes, bytes);
  }

  // Adds the products of a part of `slots` slots, which is under way, and sets the Part that next()
  // returns on its way.
  template <typename Next, typename Input>
  __device__ __forceinline__ void Run(int slots, bool fp4, const uint8_t* const (&)[2],
                                      const Next& next, const Input& input, float (&sum)[2][4]) {
    if (slots == 0) {
      Start(next());
    } else if (fp4) {
      RunFormat<true>(slots, next, input, sum);
    } else {
      RunFormat<false>(slots, next, input, sum);
    }
  }

 private:
  __device__ __forceinline__ void MoveTo(const Part& part) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int lane = static_cast<int>(threadIdx.x) % 32;
      codes_[i] = part.codes[i] + lane * kLoadBytes;
      scales_[i] = part.scales[i] + (part.fp4 ? 4 * lane : 0);
    }
  }

  // Slot b of the `left` ones from here on.
  __device__ __forceinline__ void Load(int left, int b) {
    if (b >= left) return;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int l = 0; l < kSlotLoads; ++l) {
        buffer_[b][kSlotLoads * i + l] =
            ptx::LoadStream(codes_[i] + b * kSlotBytes + l * kWarpLoadBytes);
      }
    }
  }

  // FP4: the word of row lane % 16 of slot lane / 16; FP8: the byte of both slots.
  __device__ __forceinline__ void LoadWords(bool fp4, int left) {
    if (fp4) {
      if (static_cast<int>(threadIdx.x) % 32 / 16 >= left) return;
#pragma unroll
      for (int i = 0; i < 2; ++i) words_[i] = __ldg(reinterpret_cast<const uint32_t*>(scales_[i]));
    } else if (left > 0) {
#pragma unroll
      for (int i = 0; i < 2; ++i) words_[i] = __ldg(scales_[i]);
    }
  }

  template <bool kFp4, typename Next, typename Input>
  __device__ __forceinline__ void RunFormat(int slots, const Next& next, const Input& input,
                                            float (&sum)[2][4]) {
    constexpr int kSlotColumns = kFp4 ? kGroupColumns : kGroupColumns / 2;
#pragma unroll 1
    for (int slot = 0; slot < slots; slot += kSlotsAhead) {
      const uint32_t words[2] = {kFp4 ? TurnForScales(words_[0]) : words_[0],
                                 kFp4 ? TurnForScales(words_[1]) : words_[1]};
      int left = slots - slot - kSlotsAhead;
      if (left > 0) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          codes_[i] += kSlotsAhead * kSlotBytes;
          scales_[i] += kFp4 ? kSlotsAhead * kFp4ScaleBytes : 1;
        }
        LoadWords(kFp4, left);
      } else {
        const Part part = next();
        MoveTo(part);
        left = part.slots;
        LoadWords(part.fp4, left);
      }
      input.template Prepare<kSlotColumns>(slot);
#pragma unroll
      for (int b = 0; b < kSlotsAhead; ++b) {
        if (slot + b < slots) {
          const CodesAt codes{input.template Codes<kSlotColumns>(slot + b)};
          const float2 scale = input.Scales(kFp4 ? slot + b : slot / 2);
          if constexpr (kFp4) {
            const int g = static_cast<int>(threadIdx.x) % 32 / 4;
            uint32_t row_words[2][2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              row_words[i][0] = __shfl_sync(0xFFFFFFFFu, words[i], 16 * b + g);
              row_words[i][1] = __shfl_sync(0xFFFFFFFFu, words[i], 16 * b + g + 8);
            }
            AddFp4(buffer_[b], row_words, codes, scale, sum);
          } else {
            AddFp8(buffer_[b], words, codes, scale, sum);
          }
        }
        Load(left, b);
      }
    }
  }

  uint4 buffer_[kSlotsAhead][2 * kSlotLoads];  // load l of tile i at 2·i + l
  uint32_t words_[2] = {};                     // scales of the two slots, by tile
  const uint8_t* codes_[2];                    // of those
  const uint8_t* scales_[2];
};

}  // namespace tandem::kernels::cuda
