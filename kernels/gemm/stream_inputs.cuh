// SPDX-License-Identifier: Apache-2.0
// Inputs of the streaming product (stream.cuh): where they are, and their way to shared memory.
//
// Internal to kernels/gemm.
#pragma once

#include <cstdint>

#include "kernels/gemm/stream_atom.cuh"
#include "kernels/ptx/async_copy.cuh"
#include "kernels/ptx/load.cuh"

namespace tandem::kernels::cuda {

struct StageSource {    // of inputs that a block quantises itself (group_inputs.cuh)
  const uint8_t* x;     // bf16 [T, K]
  const uint8_t* norm;  // bf16 [K], or null
  float eps;
  int k, tokens;
};

struct StreamArgs {
  WeightView weight;
  const void* x;            // row-major [T, groups, K]
  const uint8_t* scale;     // UE8M0 [T, K/128], or null
  int64_t x_stride;         // elements from token to token
  int64_t group_rows;       // rows of W that share one input of K
  void* y;                  // [T, N]
  int64_t tokens;           // 1 .. kStreamTokens
  StageSource source = {};  // what blocks quantise themselves, where x is null
};

// Steps of K.
template <typename Atom>
TANDEM_HOST_DEVICE constexpr int StepsOf(int64_t k) {
  const int tiles = static_cast<int>((k + kTileColumns - 1) / kTileColumns);
  return (tiles + Atom::kTiles - 1) / Atom::kTiles;
}

template <typename Atom>
inline constexpr int kInputBytes = sizeof(typename Atom::Unit) / kUnitCodes;

// What the rows of a group are multiplied with.
template <typename Atom>
__device__ __forceinline__ InputView InputsOf(const StreamArgs& args, int group) {
  return {.x = static_cast<const uint8_t*>(args.x) + group * args.weight.k * kInputBytes<Atom>,
          .scale = args.scale,
          .x_stride = static_cast<uint32_t>(args.x_stride * kInputBytes<Atom>),
          .scale_stride = static_cast<uint32_t>(args.weight.k / 128),
          .k = static_cast<int>(args.weight.k),
          .tokens = static_cast<int>(args.tokens)};
}

inline constexpr int kPrefetchBlocks = 16;  // that ask for all blocks' inputs

// Asks for the inputs of steps begin .. end−1 while the kernel before still runs: all arrive at
// once later, wherever they were. Not a read: it moves lines into L2, where that kernel's writes go
// too.
template <typename Atom>
__device__ __forceinline__ void PrefetchInputs(const InputView& in, int begin, int end) {
  constexpr int kLine = 128, kTileBytes = 4 * static_cast<int>(sizeof(typename Atom::Unit));
  if (blockIdx.x >= kPrefetchBlocks) return;
  const int first = begin * Atom::kTiles * kTileBytes;
  const int last = min(end * Atom::kTiles * kTileBytes, in.k * kTileBytes / kTileColumns);
  const int lines = (last - first + kLine - 1) / kLine, lane = static_cast<int>(threadIdx.x) % 32;
  for (int i = lane; i < in.tokens * lines; i += 32) {
    ptx::PrefetchL2(in.x + static_cast<uint32_t>(i / lines) * in.x_stride + first +
                    i % lines * kLine);
  }
  if (in.scale == nullptr) return;
  for (int i = lane; i < in.tokens; i += 32) {
    ptx::PrefetchL2(in.scale + static_cast<uint32_t>(i) * in.scale_stride + begin);
  }
}

// Inputs in shared memory, [token][K] and a pad with which eight tokens' units meet every bank
// once; then, of FP8 inputs, scales [token][K/128]. `input_bytes`: of an element.
TANDEM_HOST_DEVICE constexpr int64_t StageStride(int64_t k, int input_bytes = 1) {
  return input_bytes * (k + 32);
}
TANDEM_HOST_DEVICE constexpr int64_t StageBytes(int64_t tokens, int64_t k, int input_bytes = 1) {
  return tokens * (StageStride(k, input_bytes) + (input_bytes == 1 ? k / 128 : 0));
}

// Where a thread's vectors stand in inputs of `row` vectors a token, round after round of the
// block. Each block begins elsewhere in K: where all ask for the same lines at once, L2 serves one
// after the other. Rows are whole units of vectors that stay together.
class StagePlace {
 public:
  __device__ StagePlace(int row, int unit) : row_(row) {
    const int block = static_cast<int>(blockIdx.y * gridDim.x + blockIdx.x) % 128;
    turn_ = (block * row / 128) & -unit;
    vector_ = static_cast<int>(threadIdx.x);
    Wrap();
  }
  __device__ int token() const { return token_; }
  __device__ int vector() const {
    const int at = vector_ + turn_;
    return at >= row_ ? at - row_ : at;
  }
  __device__ void Next() {
    vector_ += static_cast<int>(blockDim.x);
    Wrap();
  }

 private:
  __device__ void Wrap() {
    for (; vector_ >= row_; vector_ -= row_) ++token_;
  }
  int row_, turn_, vector_, token_ = 0;
};

// Inputs on their way to shared memory as they are, by the whole block.
template <typename Atom>
class StagedInputs {
 public:
  __device__ StagedInputs(const InputView& in, uint8_t* stage)
      : in_(in), stage_(stage), place_(in.k * kInputBytes<Atom> / kVector, 8) {}

  // Asks for them.
  __device__ void Ask() {
    for (; place_.token() < in_.tokens; place_.Next()) {
      const int token = place_.token(), at = kVector * place_.vector();
      ptx::CopyAsync16(stage_ + token * Stride(in_.k) + at,
                       in_.x + static_cast<uint32_t>(token) * in_.x_stride + at);
    }
    ptx::CopyAsyncCommit();
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < Scales()) scale_ = in_.scale[thread];
  }

  // Waits until all are there.
  __device__ InputView Take() const {
    const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
    uint8_t* scales = stage_ + in_.tokens * Stride(in_.k);
    if (thread < Scales()) scales[thread] = scale_;
    for (int i = thread + threads; i < Scales(); i += threads) scales[i] = in_.scale[i];
    ptx::CopyAsyncWait<0>();
    __syncthreads();
    InputView staged = in_;
    staged.x = stage_;
    staged.scale = scales;
    staged.x_stride = static_cast<uint32_t>(Stride(in_.k));
    return staged;
  }

 private:
  static constexpr int kVector = 16;  // bytes
  __device__ static int Stride(int k) {
    return static_cast<int>(StageStride(k, kInputBytes<Atom>));
  }
  __device__ int Scales() const { return kInputBytes<Atom> == 1 ? in_.tokens * (in_.k / 128) : 0; }

  InputView in_;
  uint8_t* stage_;
  StagePlace place_;
  uint8_t scale_ = 0;  // this thread's first
};

}  // namespace tandem::kernels::cuda
