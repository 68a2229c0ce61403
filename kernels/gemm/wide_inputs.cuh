// SPDX-License-Identifier: Apache-2.0
// Inputs of a team (stream_wide.cuh) in shared memory: 16-bit values of a chunk of K, half a step,
// [tile][token] of 64 bytes, so that a lane reads its unit of eight with one load.
//
//   WideQuantised  FP8 codes: to registers a chunk ahead, made f16 there, once a team, on their
//                  way into one of two buffers
//   WidePlain      bf16: copied to a ring of kDepth slots as they are
//
// Internal to kernels/gemm.
#pragma once

#include "kernels/gemm/atom.cuh"
#include "kernels/ptx/async_copy.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kWideTokenBytes = 2 * kTileColumns;  // of a token in a tile
inline constexpr int kWideUnitBytes = 2 * kUnitCodes;

// kTiles: of a chunk; kTokens: of a team.
template <int kTiles, int kTokens, int kDepth>
class WideQuantised {
 public:
  // Sixteen bytes apart, two tiles are written without bank conflicts.
  static constexpr int kTileBytes = kTokens * kWideTokenBytes + 16;
  static constexpr int kBufferBytes = kTiles * kTileBytes;
  static constexpr int kBytes = 2 * kBufferBytes;
  static_assert(kTiles == 2);

  // `first`: byte of the part's first chunk in a token's row; `thread`: of the team, 4·kTokens.
  __device__ WideQuantised(const InputView& in, int first, int thread, uint8_t* buffers)
      : buffers_(buffers) {
    const int token = thread / kPieces, piece = thread % kPieces;
    from_ =
        in.x + static_cast<uint32_t>(TokenOf(in, token)) * in.x_stride + first + piece * kLoadBytes;
    to_ = buffers + piece / 2 * kTileBytes + token * kWideTokenBytes +
          piece % 2 * (2 * kWideUnitBytes);
    Load();
  }
  // The next chunk, even or odd, to its buffer; asks for the one after it, if there is one.
  __device__ void Expand(int parity, bool more) {
    uint32_t low[4], high[4];
    HalvesOfFp8({raw_.x, raw_.y}, low);
    HalvesOfFp8({raw_.z, raw_.w}, high);
    auto* to = reinterpret_cast<uint4*>(to_ + parity * kBufferBytes);
    to[0] = {low[0], low[1], low[2], low[3]};
    to[1] = {high[0], high[1], high[2], high[3]};
    if (more) Load();
  }
  __device__ const uint8_t* At(int parity) const { return buffers_ + parity * kBufferBytes; }

 private:
  static constexpr int kPieces = kTiles * kTileColumns / kLoadBytes;  // of a token

  __device__ void Load() {
    raw_ = *reinterpret_cast<const uint4*>(from_);
    from_ += kPieces * kLoadBytes;
  }

  uint8_t* buffers_;
  const uint8_t* from_;  // of the next chunk
  uint8_t* to_;
  uint4 raw_;
};

template <int kTiles, int kTokens, int kDepth>
class WidePlain {
 public:
  static constexpr int kTileBytes = kTokens * kWideTokenBytes + 64;  // as above
  static constexpr int kSlotBytes = kTiles * kTileBytes;
  static constexpr int kBytes = kDepth * kSlotBytes;

  __device__ WidePlain(const InputView& in, int first, int thread, uint8_t* ring) : ring_(ring) {
    const int piece = thread % kPieces;
    step_ = static_cast<uint32_t>(kThreads / kPieces) * in.x_stride;
    token_ = thread / kPieces;
    tokens_ = in.tokens;
    from_ = in.x + static_cast<uint32_t>(token_) * in.x_stride + first + piece * kLoadBytes;
    to_ = ptx::SharedAddress(ring) + piece / kTilePieces * kTileBytes + token_ * kWideTokenBytes +
          piece % kTilePieces * kLoadBytes;
  }
  // The next chunk, into a slot; the caller commits.
  __device__ void Copy(int slot) {
    const uint32_t to = to_ + slot * kSlotBytes;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int more = i * (kThreads / kPieces);  // tokens
      if (token_ + more < tokens_) {
        ptx::CopyAsync16(to + more * kWideTokenBytes, from_ + i * step_);
      }
    }
    from_ += kPieces * kLoadBytes;
  }
  __device__ const uint8_t* At(int slot) const {
    return ring_ + slot * kSlotBytes;
  }

 private:
  static constexpr int kTilePieces = kWideTokenBytes / kLoadBytes;
  static constexpr int kPieces = kTiles * kTilePieces;  // of a token
  static constexpr int kThreads = 4 * kTokens;          // of a team
  static constexpr int kCopies = kTokens * kPieces / kThreads;

  int token_, tokens_;
  uint32_t step_;
  uint8_t* ring_;
  const uint8_t* from_;  // of the next chunk
  uint32_t to_;
};

}  // namespace tandem::kernels::cuda
