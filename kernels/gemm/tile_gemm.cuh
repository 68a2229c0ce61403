// SPDX-License-Identifier: Apache-2.0
// One tile of a matrix product on a block: rows of weights in fragment order times tokens in bf16.
//
// A block of eight warps takes 8·16·kRowTiles rows and up to kTokens tokens. Every warp owns
// kRowTiles tiles of 16 rows and all tokens, so that a code becomes a bf16 once and then serves
// kTokens/8 products. Weights and tokens come through a ring of stages in shared memory (cp.async):
//   stage = codes [warp, row tile, load] of 512 bytes as they stand in device memory
//         | FP4 scales [warp, row tile] of 64 bytes
//         | tokens [k32 tile, token] of 64 bytes
// A lane reads its codes and the eight bf16 of its token and octet with 16-byte loads, without bank
// conflicts: fragment order lets both operands take the columns in this order.
//
// Numerics: codes become bf16 with their scale, exactly, but 2^40 too low (one multiplication
// instead of two; Lift makes up for it): exact for scales 2^-86..2^41. Products are exact, sums
// fp32 in the tensor core over all of K, in ascending steps of 16; they do not depend on the tile's
// size or on a token's place in it. Internal to kernels/gemm and kernels/moe.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/cuda/launch.h"
#include "kernels/gemm/dequant.cuh"
#include "kernels/gemm/fragment_order.h"
#include "kernels/ptx/arrival_barrier.cuh"
#include "kernels/ptx/async_copy.cuh"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/mma.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kTileWarps = 8;
inline constexpr int kTileThreads = 32 * kTileWarps;
inline constexpr int kTokenTileBytes = 2 * kTileColumns;  // of one token in one k32 tile
inline constexpr int kMostStages = 6;                     // more do not help

template <WeightFormat kFormat_, int kRowTiles_, int kTokens_>
struct TileShape {
  static constexpr WeightFormat kFormat = kFormat_;
  static constexpr int kRowTiles = kRowTiles_;  // a warp
  static constexpr int kTokens = kTokens_;
  static constexpr int kBlocks = kTokens / 8;
  static constexpr int kRows = kTileWarps * kRowTiles * kTileRows;
  static constexpr int kStageTiles = kFormat == WeightFormat::kBf16 ? 1 : 2;  // k32 tiles
  static constexpr int kLoads = kStageTiles * kTileColumns / LoadColumns(kFormat);
  static constexpr int kCodeBytes = kTileWarps * kRowTiles * kLoads * kWarpLoadBytes;
  static constexpr int kScaleBytes =
      kFormat == WeightFormat::kFp4 ? kTileWarps * kRowTiles * 64 : 0;
  static constexpr int kTokenBytes = kStageTiles * kTokens * kTokenTileBytes;
  static constexpr int kStageBytes = kCodeBytes + kScaleBytes + kTokenBytes;
  // 99 KB a block at most; half of it where SM120's 100 KB shall hold two.
  static constexpr int kStagesBytes = kRowTiles == 1 ? 49152 : 98304;
  static constexpr int kStages =
      kStagesBytes / kStageBytes < kMostStages ? kStagesBytes / kStageBytes : kMostStages;
  static constexpr int kSharedBytes = kStages * kStageBytes + 16 * kStages;  // and barriers
  // 16-byte pieces of one k32 tile's tokens, and how many of them a thread copies.
  static constexpr int kPieces = kTokens * 4;
  static constexpr int kSlots = kPieces > kTileThreads ? kPieces / kTileThreads : 1;
  // Two blocks a multiprocessor where registers allow: one loads while the other ends.
  static constexpr int kBlocksPerProcessor = kRowTiles * kTokens <= 64 ? 2 : 1;
  // Blocks of tokens multiplied at a time: as many as registers hold twice.
  static constexpr int kGroup = kTokens > 32 ? 4 : 2;
  static_assert(kStages >= 3);

  using Sums = float[kRowTiles][kBlocks][4];
};

// Where a lane finds the codes and scales of its warp's row tiles.
template <int kRowTiles>
struct WeightRows {
  const uint8_t* codes[kRowTiles];   // the lane's 16 bytes of the first load
  const uint8_t* scales[kRowTiles];  // kFp8: the byte of the first 128 columns
  const uint8_t* piece;              // kFp4: 16 bytes of scales, of row tile lane / 4
};

// Sets row tile m to `tile` (of 16 rows, counted from the weight's start) of a prepared weight of
// n rows and k columns.
template <class Shape>
__device__ __forceinline__ void SetRowTile(WeightRows<Shape::kRowTiles>& rows, int m,
                                           const uint8_t* prepared, int64_t n, int64_t k,
                                           int64_t tile) {
  constexpr WeightFormat kFormat = Shape::kFormat;
  rows.codes[m] = prepared + tile * LoadsPerRow(kFormat, k) * kWarpLoadBytes +
                  static_cast<int>(threadIdx.x % 32) * kLoadBytes;
  const uint8_t* scales = prepared + FragmentScaleOffset(kFormat, n, k);
  if constexpr (kFormat == WeightFormat::kFp4) {
    if (threadIdx.x % 32 / 4 == m)
      rows.piece = scales + tile * (k / 128) * 64 + threadIdx.x % 4 * 16;
  } else {
    rows.scales[m] = scales + tile / 8 * (k / 128);
  }
}

// Which 16-byte pieces of its tokens a thread copies.
template <class Shape>
struct TokenRows {
  const Bf16* piece[Shape::kSlots];  // in the first k32 tile
  bool valid[Shape::kSlots];         // there is such a token
};
// The token of a thread's slot, 0..kTokens-1.
template <class Shape>
__device__ __forceinline__ int TokenOfSlot(int slot) {
  return static_cast<int>(threadIdx.x) % Shape::kPieces / 4 + slot * (kTileThreads / 4);
}
__device__ __forceinline__ int OctetOfThread() {
  return static_cast<int>(threadIdx.x) % 4 * kUnitCodes;
}

// Codes are 2^40 too low times their format's offset (dequant.cuh: 2^126, 2^120).
inline constexpr int kLift = 40;
inline constexpr uint32_t kFp4Factor = 126 - kLift, kFp8Factor = 120 - kLift;
template <class Shape>
__device__ __forceinline__ float Lift(float sum) {
  return Shape::kFormat == WeightFormat::kBf16 ? sum : sum * 0x1p40f;
}

// Pair p (codes 2p, 2p+1) of a unit of FP4, times `factor`. Volatile, as the products are: what is
// between two products stays there.
__device__ __forceinline__ uint32_t LowPairOfFp4(uint32_t unit, int p, uint32_t factor) {
  const uint32_t sign = p == 3 ? unit : unit << (12 - 4 * p);
  const uint32_t magnitude = p < 2 ? unit << (6 - 4 * p) : unit >> (4 * p - 6);
  uint32_t pair;
  asm volatile(
      "{\n.reg .b32 s, m;\nand.b32 s, %1, 0x80008000;\nand.b32 m, %2, 0x01C001C0;\n"
      "or.b32 m, m, s;\nmul.rn.bf16x2 %0, m, %3;\n}"
      : "=r"(pair)
      : "r"(sign), "r"(magnitude), "r"(factor));
  return pair;
}
// The same of FP8, from the word that holds the pair.
__device__ __forceinline__ uint32_t LowPairOfFp8(uint32_t word, int p, uint32_t factor) {
  const uint32_t selector = p % 2 == 0 ? 0x1404 : 0x3424;
  uint32_t pair;
  asm volatile(
      "{\n.reg .b32 s, m;\nprmt.b32 m, %1, 0, %3;\nand.b32 s, m, 0x80008000;\n"
      "and.b32 m, m, 0x7F007F00;\nshr.u32 m, m, 4;\nor.b32 m, m, s;\n"
      "mul.rn.bf16x2 %0, m, %2;\n}"
      : "=r"(pair)
      : "r"(word), "r"(factor), "r"(selector));
  return pair;
}

__device__ __forceinline__ uint4 LoadShared16(uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address));
  return v;
}
__device__ __forceinline__ uint32_t LoadShared4(uint32_t address) {
  uint32_t v;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address));
  return v;
}

// f(0), …, f(kCount − 1), each argument a constant: unlike an unrolled loop, for certain.
template <int kCount, int kFirst = 0, class F>
__device__ __forceinline__ void ForEach(F&& f) {
  if constexpr (kFirst < kCount) {
    f(std::integral_constant<int, kFirst>());
    ForEach<kCount, kFirst + 1>(f);
  }
}

// The product is a pipeline. While a group of a few blocks of tokens multiplies, the next group's
// tokens are on their way from shared memory; between its products the next k32 tile's codes become
// bf16 and the copies of a later stage start. Stages pass through two barriers each, `full` (the
// copies have come) and `empty` (every warp has read), so that warps may be a stage apart: two
// warps share a scheduler, and one multiplies best while the other waits.
template <class Shape>
class TileProduct {
 public:
  static constexpr WeightFormat kFormat = Shape::kFormat;
  static constexpr int kRowTiles = Shape::kRowTiles, kStages = Shape::kStages;
  static constexpr int kTiles = Shape::kStageTiles;

  // `columns`: of x, filled up as in fragment order.
  __device__ TileProduct(uint8_t* shared, const WeightRows<kRowTiles>& rows,
                         const TokenRows<Shape>& tokens, int columns)
      : shared_(ptx::SharedAddress(shared)),
        rows_(rows),
        tokens_(tokens),
        steps_(columns / (kTileColumns * kTiles)) {}

  // sums += product with the first 8·kActive tokens. All threads, once; shared memory is free
  // afterwards.
  template <int kActive>
  __device__ __forceinline__ void Run(typename Shape::Sums& sums) {
    using P = Pipeline<kActive>;
    P pipe;
    Fill();
    LoadFactors(0);
    LoadRaw(0, 0, pipe.a[0]);
#pragma unroll
    for (int pair = 0; pair < P::kPairs; ++pair) Convert(0, pair, pipe.a[0]);
    LoadTokens<P>(pipe.b[0], 0, 0, 0);
    Ring ring = {.next = 1 % kStages, .before = kStages - 1};
    for (int step = 0; step < steps_; ++step) {
      Step<kActive>(ring, step, pipe, sums);
      ring.before = ring.stage;
      ring.before_parity = ring.parity;
      ring.stage = ring.next;
      ring.parity = ring.next_parity;
      ring.next = ring.next + 1 == kStages ? 0 : ring.next + 1;
      ring.next_parity ^= ring.next == 0 ? 1 : 0;
    }
    __syncthreads();
  }

 private:
  // Sixteen rows and 32 columns, as the operand of two steps of m16n8k16.
  using Operand = uint32_t[2][4];

  // The stages of a step, of the one after and of the one before, and their phases.
  struct Ring {
    int stage = 0, next = 0, before = 0;
    uint32_t parity = 0, next_parity = 0, before_parity = 0;
  };

  template <int kActive_>
  struct Pipeline {
    static constexpr int kActive = kActive_;
    static constexpr int kGroup = kActive < Shape::kGroup ? kActive : Shape::kGroup;
    static constexpr int kGroups = (kActive + kGroup - 1) / kGroup;
    static constexpr int kProducts = kActive * 2 * kRowTiles;  // of a tile
    static constexpr int kGroupProducts = kGroup * 2 * kRowTiles;
    static constexpr int kCopyGroup = kGroups > 1 ? 1 : 0;
    static constexpr int GroupProducts(int group) {
      return group < kGroups - 1 ? kGroupProducts : kProducts - group * kGroupProducts;
    }
    static constexpr int kPairs = kFormat == WeightFormat::kBf16 ? 0 : 8 * kRowTiles;
    // The first pair to convert, and the first copy to start, before product n of a tile.
    static constexpr int FirstPair(int n) {
      return Share(n - (kProducts + 7) / 8, kProducts - kProducts / 4, kPairs);
    }
    static constexpr int FirstCopy(int n) {
      const int begin = kCopyGroup * kGroupProducts;
      return Share(n - begin, kProducts - begin, kCopies + 1);
    }
    static constexpr int Share(int n, int of, int all) {
      const int share = (n * all + of - 1) / of;
      return n <= 0 ? 0 : share > all ? all : share;
    }
    Operand a[2][kRowTiles];  // this tile's, the next one's
    uint4 b[2][kGroup];       // this group's, the next one's
  };

  static constexpr int kWeightCopies = kRowTiles * Shape::kLoads;
  static constexpr int kScaleCopies = kFormat == WeightFormat::kFp4 ? 1 : 0;
  static constexpr int kTokenCopies = Shape::kPieces >= kTileThreads ? Shape::kSlots * kTiles : 1;
  static constexpr int kCopies = kWeightCopies + kScaleCopies + kTokenCopies;

  // The barriers stand behind the stages.
  __device__ __forceinline__ uint32_t Full(int stage) const {
    return At(kStages) + static_cast<uint32_t>(stage) * 8;
  }
  __device__ __forceinline__ uint32_t Empty(int stage) const {
    return Full(kStages + stage);
  }
  __device__ __forceinline__ uint32_t At(int stage) const {
    return shared_ + static_cast<uint32_t>(stage) * Shape::kStageBytes;
  }

  // Starts all stages, waits for the first.
  __device__ __forceinline__ void Fill() {
    if (threadIdx.x == 0) {
      for (int s = 0; s < kStages; ++s) {
        ptx::ArrivalInit(Full(s), kTileThreads);
        ptx::ArrivalInit(Empty(s), kTileWarps);
      }
    }
    constexpr int kTokensFrom = kWeightCopies + kScaleCopies;
#pragma unroll
    for (int i = 0; i < kTokensFrom; ++i) Copy(i, 0, 0, true);
    __syncthreads();
    ptx::GridDependencyWait();  // weights may come before it, tokens may not
#pragma unroll
    for (int s = 0; s < kStages; ++s) {
#pragma unroll
      for (int i = s == 0 ? kTokensFrom : 0; i < kCopies; ++i) Copy(i, s, s, s < steps_);
      ptx::ArriveWithCopies(Full(s));
    }
    ptx::ArrivalWait(Full(0), 0);
  }

  template <int kActive>
  __device__ __forceinline__ void Step(const Ring& ring, int step, Pipeline<kActive>& pipe,
                                       typename Shape::Sums& sums) {
    using P = Pipeline<kActive>;
    ForEach<kTiles * P::kGroups>([&](auto at) {
      constexpr int kTile = at() / P::kGroups, kGroup = at() % P::kGroups;
      constexpr int kNextTile = (kTile + 1) % kTiles;
      constexpr bool kLastTile = kTile == kTiles - 1, kLastGroup = kGroup == P::kGroups - 1;
      auto& a_next = pipe.a[(kTile + 1) % 2];
      const int later = step - 1 + kStages;  // the step that takes the stage before this one
      const bool copies = step > 0 && later < steps_;
      if (kGroup == 0 && kLastTile && step + 1 < steps_) {
        ptx::ArrivalWait(Full(ring.next), ring.next_parity);
      }
      if (kGroup == P::kCopyGroup && kTile == 0 && copies) {
        ptx::ArrivalWait(Empty(ring.before), ring.before_parity);
      }
      if constexpr (kGroup == 0) {
        if (kLastTile) LoadFactors(step + 1);
        LoadRaw(kLastTile ? ring.next : ring.stage, kNextTile, a_next);
      }
      LoadTokens<P>(pipe.b[(at() + 1) % 2], kLastTile && kLastGroup ? ring.next : ring.stage,
                    kLastGroup ? kNextTile : kTile, kLastGroup ? 0 : kGroup + 1);
      ForEach<P::GroupProducts(kGroup)>([&](auto n) {
        constexpr int kProduct = kGroup * P::kGroupProducts + n();
        constexpr int kBlocks = P::GroupProducts(kGroup) / (2 * kRowTiles);
        constexpr int kHalf = n() / (kRowTiles * kBlocks), kBlock = n() / kRowTiles % kBlocks;
        constexpr int kM = n() % kRowTiles;
        constexpr int kPair = P::FirstPair(kProduct), kCopy = P::FirstCopy(kProduct);
        ForEach<P::FirstPair(kProduct + 1) - kPair>(
            [&](auto i) { Convert(kNextTile, kPair + i(), a_next); });
        if constexpr (kTile == 0) {
          ForEach<P::FirstCopy(kProduct + 1) - kCopy>([&](auto i) {
            if (kCopy + i() < kCopies) {
              Copy(kCopy + i(), ring.before, later, copies);
            } else if (copies) {
              ptx::ArriveWithCopies(Full(ring.before));
            }
          });
        }
        const uint4 b = pipe.b[at() % 2][kBlock];
        const uint32_t columns[2] = {kHalf == 0 ? b.x : b.z, kHalf == 0 ? b.y : b.w};
        ptx::MmaBf16(sums[kM][kGroup * P::kGroup + kBlock], pipe.a[kTile % 2][kM][kHalf], columns);
      });
    });
    __syncwarp();
    if (threadIdx.x % 32 == 0) ptx::Arrive(Empty(ring.stage));
    Turn(pipe);
  }

  // What is next becomes this, where an odd number of tiles or groups has not done so already.
  template <class P>
  static __device__ __forceinline__ void Turn(P& pipe) {
    if constexpr (kTiles % 2 != 0) {
#pragma unroll
      for (int i = 0; i < 8 * kRowTiles; ++i) {
        pipe.a[0][i / 8][i / 4 % 2][i % 4] = pipe.a[1][i / 8][i / 4 % 2][i % 4];
      }
    }
    if constexpr (kTiles * P::kGroups % 2 != 0) {
#pragma unroll
      for (int j = 0; j < P::kGroup; ++j) pipe.b[0][j] = pipe.b[1][j];
    }
  }

  // Starts copy i of a thread for a step.
  __device__ __forceinline__ void Copy(int i, int stage, int step, bool wanted) {
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    if (i < kWeightCopies) {
      const int m = i / Shape::kLoads, load = i % Shape::kLoads;
      ptx::CopyAsync16(
          At(stage) + ((warp * kRowTiles + m) * Shape::kLoads + load) * kWarpLoadBytes +
              lane * kLoadBytes,
          rows_.codes[m] + int64_t{step} * (Shape::kLoads * kWarpLoadBytes) + load * kWarpLoadBytes,
          wanted);
    } else if (i < kWeightCopies + kScaleCopies) {
      ptx::CopyAsync16(At(stage) + Shape::kCodeBytes + warp * kRowTiles * 64 + lane * 16,
                       rows_.piece + int64_t{step / 2} * 64, wanted && lane < 4 * kRowTiles);
    } else {
      const int slot = (i - kWeightCopies - kScaleCopies) / kTiles;
      const bool spread = Shape::kPieces < kTileThreads;  // tiles over the threads
      const int tile =
          spread ? thread / Shape::kPieces : (i - kWeightCopies - kScaleCopies) % kTiles;
      const int place = spread ? thread : tile * Shape::kPieces + slot * kTileThreads + thread;
      ptx::CopyAsync16(
          At(stage) + Shape::kCodeBytes + Shape::kScaleBytes + place * 16,
          tokens_.piece[slot] + int64_t{step} * (kTiles * kTileColumns) + tile * kTileColumns,
          wanted && tokens_.valid[slot] && tile < kTiles);
    }
  }

  // kFp8: the scales of a step; used once its codes are here.
  __device__ __forceinline__ void LoadFactors(int step) {
    if constexpr (kFormat == WeightFormat::kFp8) {
      const int block = min(step, steps_ - 1) * kTiles / 4;
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        factor_[m][0] = Bf16Scale(rows_.scales[m][block] + kFp8Factor);
      }
    }
    if constexpr (kFormat == WeightFormat::kFp4) shift_ = step % 2 * 16;
  }

  // The codes of a tile to registers; bf16 is then ready.
  __device__ __forceinline__ void LoadRaw(int stage, int tile, Operand (&a)[kRowTiles]) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      const int row_tile = warp * kRowTiles + m;
      const uint32_t codes =
          At(stage) + row_tile * Shape::kLoads * kWarpLoadBytes + lane * kLoadBytes;
      if constexpr (kFormat == WeightFormat::kBf16) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const uint4 r = LoadShared16(codes + j * kWarpLoadBytes);
          a[m][j][0] = r.x, a[m][j][1] = r.z, a[m][j][2] = r.y, a[m][j][3] = r.w;
        }
      } else if constexpr (kFormat == WeightFormat::kFp8) {
        raw_[m] = LoadShared16(codes + tile * kWarpLoadBytes);
      } else if (tile == 0) {  // one load serves both tiles
        raw_[m] = LoadShared16(codes);
        const uint32_t words = At(stage) + Shape::kCodeBytes + row_tile * 64 + lane / 4 * 4;
        scale_[m][0] = LoadShared4(words);
        scale_[m][1] = LoadShared4(words + 32);
      }
    }
  }

  // Pair i of a tile's codes: row tile, upper or lower eight rows, codes 2p and 2p+1.
  __device__ __forceinline__ void Convert(int tile, int i, Operand (&a)[kRowTiles]) {
    const int m = i / 8, half = i / 4 % 2, p = i % 4;
    const uint4 r = raw_[m];
    uint32_t& to = a[m][p / 2][p % 2 * 2 + half];
    if constexpr (kFormat == WeightFormat::kFp4) {
      if (p == 0) {
        const uint32_t byte = (scale_[m][half] >> (shift_ + 8 * tile)) & 0xFFu;
        factor_[m][half] = Bf16Scale(byte + kFp4Factor);
      }
      const uint32_t low = half == 0 ? r.x : r.y, high = half == 0 ? r.z : r.w;
      to = LowPairOfFp4(tile == 0 ? low : high, p, factor_[m][half]);
    } else {
      const uint32_t low = half == 0 ? r.x : r.z, high = half == 0 ? r.y : r.w;
      to = LowPairOfFp8(p < 2 ? low : high, p, factor_[m][0]);
    }
  }

  // A group of a tile's tokens to registers.
  template <class P>
  __device__ __forceinline__ void LoadTokens(uint4 (&b)[P::kGroup], int stage, int tile,
                                             int group) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const uint32_t from = At(stage) + Shape::kCodeBytes + Shape::kScaleBytes +
                          tile * Shape::kTokens * kTokenTileBytes + lane * kLoadBytes;
#pragma unroll
    for (int j = 0; j < P::kGroup; ++j) {
      const int block = group * P::kGroup + j;
      if (block < P::kActive) b[j] = LoadShared16(from + block * 8 * kTokenTileBytes);
    }
  }

  const uint32_t shared_;
  const WeightRows<kRowTiles> rows_;
  const TokenRows<Shape> tokens_;
  const int steps_;
  uint32_t factor_[kRowTiles][2];
  uint32_t scale_[kRowTiles][2];
  uint32_t shift_ = 0;  // to a step's half of a scale word
  uint4 raw_[kRowTiles];
};

// The product on just so many blocks of eight tokens as `rows` want, or one more.
template <class Shape, int kActive, int... kMore>
__device__ __forceinline__ void RunFor(int rows, TileProduct<Shape>& product,
                                       typename Shape::Sums& sums) {
  if constexpr (sizeof...(kMore) > 0) {
    if (rows > 8 * kActive) return RunFor<Shape, kMore...>(rows, product, sums);
  }
  product.template Run<kActive>(sums);
}

}  // namespace tandem::kernels::cuda
