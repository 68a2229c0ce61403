// SPDX-License-Identifier: Apache-2.0
// The streaming product of 17 tokens and more: as in stream.cuh, with the same sums, but inputs
// too many for a warp's registers.
//
// A warp takes two row tiles, 32 tokens and one part of K. The warps of a block that share a part
// are a team: 128 rows and 32 or 64 tokens. They copy codes and inputs a chunk of half a step at a
// time to shared memory, and meet once a chunk. A block has the parts of one slice of K
// (stream_plan.h); where there are several slices, they go to scratch and a second kernel adds
// them. Internal to kernels/gemm.
#pragma once

#include <type_traits>

#include "kernels/gemm/stream.cuh"
#include "kernels/gemm/wide_inputs.cuh"
#include "kernels/gemm/wide_sums.cuh"
#include "kernels/ptx/named_barrier.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kWideRows = 2;      // row tiles of a warp
inline constexpr int kWideRowWarps = 4;  // of a team
inline constexpr int kWideColumns = 4;   // of eight tokens, of a warp
inline constexpr int kWideTokens = 8 * kWideColumns;
inline constexpr int kWarpRowCount = kWideRows * kTileRows;
inline constexpr int kWideRowCount = kWideRowWarps * kWarpRowCount;
inline constexpr int kWideDepth = 3;  // slots of a ring: a step and the chunk at hand

// A chunk of a team with kHalves·32 tokens, and shared memory of a block: rings of codes [team]
// [slot][row tile][load], inputs [team], factors of inputs [team][step][token]; sums [warp][token]
// [row] take the place of all when these are done.
template <typename Atom, int kHalves>
struct WideShared {
  static constexpr bool kScaled = sizeof(typename Atom::Unit) == 8;  // inputs have scales
  static constexpr int kTiles = Atom::kTiles / 2;
  static constexpr int kLoads = Atom::kLoads / 2;  // of a row tile
  static constexpr int kTokens = kHalves * kWideTokens;
  using Inputs = std::conditional_t<kScaled, WideQuantised<kTiles, kTokens, kWideDepth>,
                                    WidePlain<kTiles, kTokens, kWideDepth>>;
  static constexpr int kWarpBytes = kWideRows * kLoads * kWarpLoadBytes;  // of codes
  static constexpr int kSlotBytes = kWideRowWarps * kWarpBytes;
  static constexpr int kWarpSums = kWideTokens * kSumStride<kWideRows>;
  static constexpr int kTeamSums = kHalves * kWideRowWarps * kWarpSums;

  TANDEM_HOST_DEVICE static int CodesAt(int team) { return team * kWideDepth * kSlotBytes; }
  TANDEM_HOST_DEVICE static int InputsAt(int teams, int team) {
    return CodesAt(teams) + team * Inputs::kBytes;
  }
  TANDEM_HOST_DEVICE static int FactorsAt(int teams, int team, int steps) {
    return InputsAt(teams, teams) + team * FactorBytes(steps);
  }
  TANDEM_HOST_DEVICE static int Bytes(int teams, int steps) {
    const int sums = teams * kTeamSums * static_cast<int>(sizeof(float));
    const int rest = FactorsAt(teams, teams, steps);
    return rest > sums ? rest : sums;
  }

 private:
  TANDEM_HOST_DEVICE static int FactorBytes(int steps) {
    return kScaled ? steps * kTokens * static_cast<int>(sizeof(uint32_t)) : 0;
  }
};

// A warp's place: team, then row warp, then half of the tokens.
template <int kHalves>
struct WideWarp {
  static constexpr int kTeamWarps = kWideRowWarps * kHalves;
  __device__ WideWarp()
      : index(static_cast<int>(threadIdx.x) / 32),
        team(index / kTeamWarps),
        row_warp(index % kTeamWarps / kHalves),
        half(index % kHalves),
        thread(static_cast<int>(threadIdx.x) % (32 * kTeamWarps)) {}
  __device__ void Meet() const { ptx::BarrierWait(1 + team, 32 * kTeamWarps); }
  int index, team, row_warp, half;
  int thread;  // of the team
};

template <typename Atom, int kHalves>
class WideWalk {
 public:
  using Shared = WideShared<Atom, kHalves>;
  using Warp = WideWarp<kHalves>;
  using Totals = float[kWideRows][kWideColumns][4];

  // Steps begin .. end−1 of K, end > begin, of the block's rows from `row_tile` on. Starts the
  // copies of weights to `codes`.
  __device__ WideWalk(const WeightView& w, int row_tile, int begin, int end, const Warp& warp,
                      uint8_t* codes)
      : warp_(warp), begin_(begin), steps_(end - begin), codes_(codes) {
    const int64_t loads = LoadsPerRow(Atom::kFormat, w.k);
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      // A tile behind the last is not stored: any that exists will do.
      const int tile = min(row_tile + warp.index % Warp::kTeamWarps * kTiles + i,
                           static_cast<int>(RowTiles(w.n)) - 1);
      from_[i] = w.codes + (tile * loads + Atom::kLoads * begin) * kWarpLoadBytes +
                 kLoadBytes * ThreadLane();
    }
#pragma unroll
    for (int s = 0; s < kWideDepth - 1; ++s) {
      CopyCodes(s);
      ptx::CopyAsyncCommit();
    }
    row_scales_ = Atom::ScaleRow(w, row_tile, ThisLane()) + begin * Atom::kScaleBytes;
  }

  __device__ void Run(const InputView& in, uint8_t* input_memory, uint32_t* factors,
                      Totals& total) {
    typename Shared::Inputs inputs(in, begin_ * kStepBytes, warp_.thread, input_memory);
    if constexpr (Shared::kScaled) {
      KeepFactors(in, factors);
      inputs.Expand(0, true);
    } else {
#pragma unroll
      for (int s = 0; s < kWideDepth - 1; ++s) {
        inputs.Copy(s);
        ptx::CopyAsyncCommit();
      }
    }
    int slot = 0;
    for (int step = 0; step < steps_; ++step) {
      typename Atom::Part part[kWideRows][kWideColumns];
      typename Atom::RowScale row_scale = {};
      const bool more = step + 1 < steps_;  // chunks beyond the next one
      if constexpr (!Shared::kScaled) row_scale = Atom::LoadRowScale(row_scales_);
      row_scales_ += Atom::kScaleBytes;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        ptx::CopyAsyncWait<kWideDepth - 2>();
        warp_.Meet();  // the chunk is there for all, and the slot before it free
        const int free = slot == 0 ? kWideDepth - 1 : slot - 1;
        if (more) {
          CopyCodes(free);
          if constexpr (!Shared::kScaled) inputs.Copy(free);
        }
        ptx::CopyAsyncCommit();
        if constexpr (Shared::kScaled) inputs.Expand(1 - half, more);
        asm volatile("" ::: "memory");  // not in the midst of the product: no registers for it
        Multiply(half, codes_ + slot * Shared::kSlotBytes, inputs.At(Shared::kScaled ? half : slot),
                 part);
        slot = slot + 1 == kWideDepth ? 0 : slot + 1;
      }
      asm volatile("" ::: "memory");  // factors are not to be read early: no registers for them
      EndStep(factors + step * Shared::kTokens, row_scale, total, part);
    }
    ptx::CopyAsyncWait<0>();
  }

 private:
  static constexpr int kTiles = kWideRows / kHalves;  // of rows, that a warp copies
  static constexpr int kTileBytes = Shared::kLoads * kWarpLoadBytes;
  static constexpr int kTogether = 1;  // columns; more would spill
  // Of a token's inputs.
  static constexpr int kStepBytes =
      Atom::kTiles * 4 * static_cast<int>(sizeof(typename Atom::Unit));

  __device__ static int ThreadLane() {
    return static_cast<int>(threadIdx.x) % 32;
  }

  // The next chunk's weights.
  __device__ void CopyCodes(int slot) {
    const uint32_t to = ptx::SharedAddress(codes_) + slot * Shared::kSlotBytes +
                        warp_.index % Warp::kTeamWarps * (kTiles * kTileBytes) +
                        kLoadBytes * ThreadLane();
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int load = 0; load < Shared::kLoads; ++load) {
        ptx::CopyAsyncStream16(to + i * kTileBytes + load * kWarpLoadBytes,
                               from_[i] + load * kWarpLoadBytes);
      }
      from_[i] += kTileBytes;
    }
  }
  // Those of the whole part; the first meeting makes them known. A thread takes one token.
  __device__ void KeepFactors(const InputView& in, uint32_t* factors) {
    const int token = warp_.thread % Shared::kTokens;
    const uint8_t* scale =
        in.scale + static_cast<uint32_t>(TokenOf(in, token)) * in.scale_stride + begin_;
#pragma unroll 2
    for (int step = warp_.thread / Shared::kTokens; step < steps_; step += kWideRowWarps) {
      factors[step * Shared::kTokens + token] =
          Atom::Factors(Atom::LoadRowScale(row_scales_ + step).byte, scale[step]);
    }
  }
  __device__ void EndStep(const uint32_t* factors, const typename Atom::RowScale& row_scale,
                          Totals& total,
                          const typename Atom::Part (&part)[kWideRows][kWideColumns]) const {
    const uint32_t* at = factors + warp_.half * kWideTokens + 2 * ThisLane().c;
#pragma unroll
    for (int column = 0; column < kWideColumns; ++column) {
      uint2 pair = {};
      if constexpr (Shared::kScaled) pair = *reinterpret_cast<const uint2*>(at + 8 * column);
#pragma unroll
      for (int r = 0; r < kWideRows; ++r) {
        if constexpr (Shared::kScaled) {
          Atom::EndStep(total[r][column], part[r][column], pair);
        } else {
          Atom::EndStep(total[r][column], part[r][column], row_scale, {});
        }
      }
    }
  }
  __device__ void Multiply(int half, const uint8_t* codes, const uint8_t* inputs,
                           typename Atom::Part (&part)[kWideRows][kWideColumns]) {
    const Lane lane = ThisLane();
    codes += warp_.row_warp * Shared::kWarpBytes + kLoadBytes * ThreadLane();
    inputs += (warp_.half * kWideTokens + lane.g) * kWideTokenBytes + lane.c * kWideUnitBytes;
#pragma unroll
    for (int t = 0; t < Shared::kTiles; ++t) {
      const int tile = half * Shared::kTiles + t;  // of the step
      typename Atom::A a[kWideRows];
#pragma unroll
      for (int r = 0; r < kWideRows; ++r) {
        constexpr int kTileLoads = Shared::kLoads / Shared::kTiles;
        uint4 loads[Atom::kLoads];  // only those of the tile are read
#pragma unroll
        for (int i = 0; i < kTileLoads; ++i) {
          loads[tile * kTileLoads + i] = *reinterpret_cast<const uint4*>(
              codes + (r * Shared::kLoads + t * kTileLoads + i) * kWarpLoadBytes);
        }
        a[r] = Atom::UnpackA(loads, tile);
      }
#pragma unroll
      for (int first = 0; first < kWideColumns; first += kTogether) {
        MmaB b[kTogether];
#pragma unroll
        for (int i = 0; i < kTogether; ++i) {
          const uint4 unit = *reinterpret_cast<const uint4*>(
              inputs + t * Shared::Inputs::kTileBytes + 8 * (first + i) * kWideTokenBytes);
          b[i] = {{{unit.x, unit.y}, {unit.z, unit.w}}};
        }
        // A product is not to wait for the one just begun.
#pragma unroll
        for (int j = 0; j < 2; ++j) {
#pragma unroll
          for (int i = 0; i < kTogether; ++i) {
#pragma unroll
            for (int r = 0; r < kWideRows; ++r) {
              Atom::MultiplyStep(part[r][first + i], a[r], b[i], j);
            }
          }
        }
      }
    }
  }

  Warp warp_;
  int begin_, steps_;
  uint8_t* codes_;
  const uint8_t* from_[kTiles];  // of the next chunk
  const uint8_t* row_scales_;    // one for all rows of a block
};

// The sums of all teams, in ascending order, to the outputs or to the slice's place. A thread takes
// four rows of a token at a time.
template <typename Atom, typename Output, int kHalves>
__device__ __forceinline__ void StoreWide(const StreamArgs& args, const WidePlan& plan,
                                          const WidePartial& partial, const float* sums,
                                          int first_token, int tokens) {
  using Shared = WideShared<Atom, kHalves>;
  constexpr int kQuads = kWideRowCount / 4;
  const int block_row = static_cast<int>(blockIdx.x) * kWideRowCount;
  const int n = static_cast<int>(args.weight.n), width = plan.slices == 1 ? n : partial.width;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < tokens * kQuads;
       i += static_cast<int>(blockDim.x)) {
    const int token = i / kQuads, row = i % kQuads * 4;
    const float* at = sums +
                      (row / kWarpRowCount * kHalves + token / kWideTokens) * Shared::kWarpSums +
                      token % kWideTokens * kSumStride<kWideRows> + row % kWarpRowCount;
    float4 sum = *reinterpret_cast<const float4*>(at);
    for (int team = 1; team < plan.teams; ++team) {
      at += Shared::kTeamSums;
      sum = AddFour(sum, *reinterpret_cast<const float4*>(at));
    }
    if (block_row + row >= width) continue;
    if (plan.slices == 1) {
      StoreFour(static_cast<Output*>(args.y) + int64_t{first_token + token} * n + block_row + row,
                sum, n - block_row - row);
    } else {
      const int64_t line = blockIdx.y * args.tokens + first_token + token;
      *reinterpret_cast<float4*>(partial.sums + line * width + block_row + row) = sum;
    }
  }
}

// Block x: rows; y: slice; z: tokens.
template <typename Atom, typename Output, int kHalves>
__global__ void __maxnreg__(128)
    WideStreamKernel(StreamArgs args, WidePlan plan, WidePartial partial) {
  ptx::GridDependencyLaunch();
  using Shared = WideShared<Atom, kHalves>;
  extern __shared__ __align__(16) uint8_t wide_shared[];
  const WideWarp<kHalves> warp;
  const int steps = StepsOf<Atom>(args.weight.k);
  const int part = static_cast<int>(blockIdx.y) * plan.teams + warp.team;
  const int row_tile = static_cast<int>(blockIdx.x) * (kWideRowWarps * kWideRows);
  WideWalk<Atom, kHalves> walk(args.weight, row_tile, steps * part >> plan.split_bits,
                               steps * (part + 1) >> plan.split_bits, warp,
                               wide_shared + Shared::CodesAt(warp.team));
  // One input for the whole block: its rows are of one group.
  InputView in = InputsOf<Atom>(args, row_tile * kTileRows / static_cast<int>(args.group_rows));
  const int first = static_cast<int>(blockIdx.z) * Shared::kTokens;
  in.x += int64_t{first} * in.x_stride;
  if constexpr (Shared::kScaled) in.scale += int64_t{first} * in.scale_stride;
  in.tokens = min(in.tokens - first, Shared::kTokens);
  ptx::GridDependencyWait();
  float total[kWideRows][kWideColumns][4] = {};
  auto* factors = reinterpret_cast<uint32_t*>(
      wide_shared + Shared::FactorsAt(plan.teams, warp.team, plan.part_steps));
  walk.Run(in, wide_shared + Shared::InputsAt(plan.teams, warp.team), factors, total);
  __syncthreads();  // the rings are done
  auto* sums = reinterpret_cast<float*>(wide_shared);
  KeepSums<kWideRows, kWideColumns>(total, kWideTokens, sums + warp.index * Shared::kWarpSums);
  __syncthreads();
  StoreWide<Atom, Output, kHalves>(args, plan, partial, sums, first, in.tokens);
}

template <typename Atom, typename Output, int kHalves>
void LaunchWideStream(const char* name, const StreamArgs& args, const WidePlan& plan,
                      Stream& stream) {
  using Shared = WideShared<Atom, kHalves>;
  const int64_t row_tiles = RowTiles(args.weight.n);
  Scratch scratch(stream);
  WidePartial partial = {nullptr, static_cast<int>(row_tiles * kTileRows)};
  if (plan.slices > 1) {
    partial.sums = scratch.Take<float>(plan.slices * args.tokens * partial.width);
  }
  Launch({.name = name,
          .grid = dim3(Blocks(args.weight.n, kWideRowCount), static_cast<unsigned>(plan.slices),
                       Blocks(args.tokens, Shared::kTokens)),
          .threads = 32 * kWideRowWarps * kHalves * plan.teams,
          .shared_bytes = Shared::Bytes(plan.teams, plan.part_steps)},
         stream, WideStreamKernel<Atom, Output, kHalves>, args, plan, partial);
  if (plan.slices == 1) return;
  Launch({.name = name,
          .grid = dim3(Blocks(args.tokens * partial.width, 4 * kAddThreads)),
          .threads = kAddThreads},
         stream, AddSlicesKernel<Output>, partial, plan.slices, args.tokens, args.weight.n,
         static_cast<Output*>(args.y));
}

}  // namespace tandem::kernels::cuda
