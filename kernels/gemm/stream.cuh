// SPDX-License-Identifier: Apache-2.0
// The streaming product: y[T,N] = x[T,K]·Wᵀ for T ≤ 64, bound by the stream of W.
//
// A warp takes kRows row tiles (atom.cuh) and a part of K. Weights go from memory straight into
// registers, kDepth steps deep; what comes behind them is asked into L2 at once. All that happens
// before the kernel waits for the one before it, so that a chain of linears keeps the memory busy
// across launches. Then inputs are read and multiplied as the weights arrive. K is cut into `split`
// parts; a part's steps are summed in ascending order from zero, then the parts in ascending order
// through shared memory. The split depends on the weight's shape alone, so a row's bits do not
// depend on T. Internal to kernels/gemm.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/common/cuda/launch.h"
#include "kernels/common/dtype.h"
#include "kernels/common/tensor.h"
#include "kernels/gemm/atom.cuh"
#include "kernels/gemm/stream_plan.h"
#include "kernels/ptx/bulk_prefetch.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {

// Of the current device, asked once.
inline int Multiprocessors() {
  static const int count = [] {
    int device = 0, value = 0;
    KERNEL_CHECK_EQ(cudaGetDevice(&device), cudaSuccess);
    KERNEL_CHECK_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, device),
                    cudaSuccess);
    return value;
  }();
  return count;
}

struct StreamArgs {
  WeightView weight;
  const void* x;         // row-major [T, groups, K]
  const uint8_t* scale;  // UE8M0 [T, K/128], or null
  int64_t x_stride;      // elements from token to token
  int64_t group_rows;    // rows of W that share one input of K
  void* y;               // [T, N]
  int64_t tokens;        // 1 .. kStreamTokens
};

// A warp's place in its row tiles and inputs, and the steps that it has under way. Weights of step
// s are loaded kDepth steps ahead, each load as soon as the one whose registers it takes is used;
// inputs of few tokens likewise, of many they are read tile by tile.
template <typename Atom, int kRows, int kColumns, int kDepth>
class StreamWalk {
 public:
  static constexpr bool kKeepsInputs = kColumns <= 2;

  // Steps begin .. end−1 of K, end > begin. Starts the loads of weights.
  __device__ StreamWalk(const WeightView& w, int64_t row_tile, int begin, int end)
      : left_(end - begin) {
    const Lane lane = ThisLane();
    const int64_t row_loads = LoadsPerRow(Atom::kFormat, w.k);
    loads_left_ = static_cast<int>(row_loads) - Atom::kLoads * begin;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      codes_[r] = w.codes + ((row_tile + r) * row_loads + Atom::kLoads * begin) * kWarpLoadBytes +
                  static_cast<int>(threadIdx.x) % 32 * kLoadBytes;
      scale_rows_[r] = Atom::ScaleRow(w, row_tile + r, lane) + begin * Atom::kScaleBytes;
    }
#pragma unroll
    for (int s = 0; s < kDepth; ++s) {
      if (s < left_) {
#pragma unroll
        for (int i = 0; i < Atom::kLoads; ++i) LoadCodes(s, s, i);
        LoadRowScales(s, s);
      }
    }
  }
  // Asks for the rest of the weights.
  __device__ void Prefetch() const {
    const int first = Atom::kLoads * kDepth, loads = min(Atom::kLoads * left_, loads_left_);
    if (loads <= first || threadIdx.x % 32 != 0) return;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      ptx::PrefetchL2Bulk(codes_[r] + first * kWarpLoadBytes,
                          static_cast<uint32_t>((loads - first) * kWarpLoadBytes));
    }
  }
  __device__ void Run(const InputView& in, int begin, float (&total)[kRows][kColumns][4]) {
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      inputs_[column] = Atom::RowOf(in, column, begin, ThisLane());
    }
#pragma unroll
    for (int s = 0; s < kDepth; ++s) {
      if (s < left_) StartInputs(s);
    }
    for (; left_ > 0; left_ -= kDepth) {
#pragma unroll
      for (int s = 0; s < kDepth; ++s) {
        if (s < left_) Step(s, s + kDepth < left_, total);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        codes_[r] += kDepth * Atom::kLoads * kWarpLoadBytes;
        scale_rows_[r] += kDepth * Atom::kScaleBytes;
      }
#pragma unroll
      for (int column = 0; column < kColumns; ++column) Atom::Advance(inputs_[column], kDepth);
      loads_left_ -= kDepth * Atom::kLoads;
    }
  }

 private:
  __device__ void LoadCodes(int slot, int step, int i) {
    const int load = Atom::kLoads * step + i;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (Atom::kRagged && load >= loads_left_) {  // half a step at the end of K
        loads_[slot][r][i] = {};
      } else {
        loads_[slot][r][i] = ptx::LoadStream(codes_[r] + load * kWarpLoadBytes);
      }
    }
  }
  __device__ void LoadRowScales(int slot, int step) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      row_scale_[slot][r] = Atom::LoadRowScale(scale_rows_[r] + step * Atom::kScaleBytes);
    }
  }
  __device__ void LoadUnits(int slot, int step, int tile) {
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      units_[slot][column][tile] = Atom::LoadUnit(inputs_[column], Atom::kTiles * step + tile);
    }
  }
  __device__ void LoadInputScales(int slot, int step) {
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      input_scale_[slot][column] = Atom::LoadInputScale(inputs_[column], step);
    }
  }
  __device__ void StartInputs(int s) {
    if constexpr (kKeepsInputs) {
#pragma unroll
      for (int tile = 0; tile < Atom::kTiles; ++tile) LoadUnits(s, s, tile);
      LoadInputScales(s, s);
    }
  }
  // The step in slot s; then the slot's registers take step s + kDepth, if there is `more`.
  __device__ void Step(int s, bool more, float (&total)[kRows][kColumns][4]) {
    typename Atom::Part part[kRows][kColumns];
    if constexpr (!kKeepsInputs) LoadInputScales(s, s);
#pragma unroll
    for (int tile = 0; tile < Atom::kTiles; ++tile) {
      if constexpr (!kKeepsInputs) LoadUnits(s, s, tile);
      typename Atom::A a[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) a[r] = Atom::UnpackA(loads_[s][r], tile);
#pragma unroll
      for (int column = 0; column < kColumns; ++column) {
        const typename Atom::B b = Atom::UnpackB(units_[s][column][tile]);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          Atom::Multiply(total[r][column], part[r][column], a[r], b, row_scale_[s][r],
                         input_scale_[s][column], tile);
        }
      }
      if (more) {
        constexpr int kLoads = Atom::kLoads, kTiles = Atom::kTiles;
#pragma unroll
        for (int i = tile * kLoads / kTiles; i < (tile + 1) * kLoads / kTiles; ++i) {
          LoadCodes(s, s + kDepth, i);
        }
        if constexpr (kKeepsInputs) LoadUnits(s, s + kDepth, tile);
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int column = 0; column < kColumns; ++column) {
        Atom::EndStep(total[r][column], part[r][column], row_scale_[s][r],
                      input_scale_[s][column]);
      }
    }
    if (more) {
      LoadRowScales(s, s + kDepth);
      if constexpr (kKeepsInputs) LoadInputScales(s, s + kDepth);
    }
  }

  int left_;        // steps
  int loads_left_;  // in the row
  const uint8_t* codes_[kRows];
  const uint8_t* scale_rows_[kRows];
  InputRow inputs_[kColumns];
  uint4 loads_[kDepth][kRows][Atom::kLoads];
  typename Atom::RowScale row_scale_[kDepth][kRows];
  typename Atom::Unit units_[kDepth][kColumns][Atom::kTiles];
  typename Atom::InputScale input_scale_[kDepth][kColumns];
};

// Sums of a warp, [token][row] for its kRows·16 rows; padded, so that a store meets every bank once.
template <int kRows>
inline constexpr int kSumStride = kRows * kTileRows + 4;

template <int kRows, int kColumns>
__device__ __forceinline__ void KeepSums(const float (&total)[kRows][kColumns][4], int tokens,
                                         float* sums) {
  const Lane lane = ThisLane();
#pragma unroll
  for (int column = 0; column < kColumns; ++column) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = 8 * column + 2 * lane.c + i % 2;
      if (token >= tokens) continue;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        sums[token * kSumStride<kRows> + kTileRows * r + 8 * (i / 2) + lane.g] =
            total[r][column][i];
      }
    }
  }
}

__device__ __forceinline__ void StoreOutput(float* y, int64_t at, float value) {
  y[at] = value;
}
__device__ __forceinline__ void StoreOutput(Bf16* y, int64_t at, float value) {
  y[at] = RoundToBf16(value);
}

// Blocks of `row_warps`·`split_warps` warps; warp = row_warp · split_warps + part of K.
template <typename Atom, typename Output, int kRows, int kColumns, int kDepth, int kRegisters>
__global__ void __maxnreg__(kRegisters)
    StreamKernel(StreamArgs args, StreamPlan plan) {
  ptx::GridDependencyLaunch();
  extern __shared__ float shared[];  // [row warp][part][token][row]
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int row_warp = warp / plan.split_warps, tokens = static_cast<int>(args.tokens);
  const int64_t row_tile = (int64_t{blockIdx.x} * plan.row_warps + row_warp) * kRows;
  const int sums = tokens * kSumStride<kRows>;
  const int tiles = static_cast<int>((args.weight.k + kTileColumns - 1) / kTileColumns);
  const int steps = (tiles + Atom::kTiles - 1) / Atom::kTiles;
  const int64_t rows = RowTiles(args.weight.n);
  const int64_t group = row_tile * kTileRows / args.group_rows;
  constexpr int kInputBytes = sizeof(typename Atom::Unit) / kUnitCodes;
  const InputView in = {.x = static_cast<const uint8_t*>(args.x) +
                             group * args.weight.k * kInputBytes,
                        .scale = args.scale,
                        .x_stride = static_cast<uint32_t>(args.x_stride * kInputBytes),
                        .scale_stride = static_cast<uint32_t>(args.weight.k / 128),
                        .k = static_cast<int>(args.weight.k),
                        .tokens = tokens};
  bool wait = true;
  for (int part = warp % plan.split_warps; part < plan.split && row_tile < rows;
       part += plan.split_warps) {
    const int begin = steps * part / plan.split, end = steps * (part + 1) / plan.split;
    StreamWalk<Atom, kRows, kColumns, kDepth> walk(args.weight, row_tile, begin, end);
    if (wait) {
      if (plan.prefetch) walk.Prefetch();
      ptx::GridDependencyWait();
      wait = false;
    }
    float total[kRows][kColumns][4] = {};
    walk.Run(in, begin, total);
    KeepSums<kRows, kColumns>(total, tokens, shared + (row_warp * plan.split + part) * sums);
  }
  if (wait) ptx::GridDependencyWait();
  if (plan.split_warps == 1) {
    __syncwarp();
  } else {
    __syncthreads();
  }
  // The warps of a row tile share its outputs.
  constexpr int kBlockRows = kRows * kTileRows;
  const float* mine = shared + row_warp * plan.split * sums;
  const int first = static_cast<int>(threadIdx.x) - 32 * row_warp * plan.split_warps;
  for (int i = first; i < tokens * kBlockRows; i += 32 * plan.split_warps) {
    const int row = i % kBlockRows, token = i / kBlockRows;
    const int64_t n = row_tile * kTileRows + row;
    if (n >= args.weight.n) continue;
    float sum = mine[token * kSumStride<kRows> + row];
    for (int part = 1; part < plan.split; ++part) {
      sum += mine[part * sums + token * kSumStride<kRows> + row];
    }
    StoreOutput(static_cast<Output*>(args.y), token * args.weight.n + n, sum);
  }
}

template <typename Atom, typename Output, int kRows, int kColumns, int kDepth, int kRegisters>
void LaunchStream(const char* name, const StreamArgs& args, const StreamPlan& plan,
                  Stream& stream) {
  const int64_t row_groups = (RowTiles(args.weight.n) + kRows - 1) / kRows;
  Launch({.name = name,
          .grid = dim3(Blocks(row_groups, plan.row_warps)),
          .threads = 32 * plan.row_warps * plan.split_warps,
          .shared_bytes = int64_t{plan.row_warps} * plan.split * args.tokens * kSumStride<kRows> *
                          static_cast<int64_t>(sizeof(float))},
         stream, StreamKernel<Atom, Output, kRows, kColumns, kDepth, kRegisters>, args, plan);
}

// y = x·Wᵀ for 1 .. kStreamTokens tokens.
template <typename Atom, typename Output>
void StreamLinear(const char* name, const StreamArgs& args, Stream& stream) {
  constexpr int kBlockWarps = 8;
  const int64_t tiles = (args.weight.k + kTileColumns - 1) / kTileColumns;
  const int64_t steps = (tiles + Atom::kTiles - 1) / Atom::kTiles;
  StreamPlan plan = {.split = StreamSplit(RowTiles(args.weight.n), steps, Multiprocessors())};
  // Registers of many tokens allow half as many warps.
  plan.split_warps = std::min(plan.split, args.tokens <= 16 ? 2 * kBlockWarps : kBlockWarps);
  plan.row_warps = std::max(1, kBlockWarps / plan.split_warps);
  if (args.tokens <= 8) {
    LaunchStream<Atom, Output, 1, 1, 1, 80>(name, args, plan, stream);
  } else if (args.tokens <= 16) {
    LaunchStream<Atom, Output, 1, 2, 1, 128>(name, args, plan, stream);
  } else if (args.tokens <= 32) {
    LaunchStream<Atom, Output, 1, 4, 1, 224>(name, args, plan, stream);
  } else {
    LaunchStream<Atom, Output, 1, 8, 1, 255>(name, args, plan, stream);
  }
}

// The same with bf16 weights: rows of whole steps, or of any length.
template <typename Output>
void StreamBf16(const char* name, const StreamArgs& args, Stream& stream) {
  if (args.weight.k % 64 == 0 && reinterpret_cast<uintptr_t>(args.x) % 16 == 0) {
    StreamLinear<Bf16Dequant<WeightFormat::kBf16>, Output>(name, args, stream);
  } else {
    StreamLinear<Bf16Dequant<WeightFormat::kBf16, true>, Output>(name, args, stream);
  }
}

// A weight that PrepareLinear has prepared.
inline WeightView ViewOf(const LinearWeight& weight) {
  KERNEL_CHECK(weight.prepared != nullptr);
  return {.codes = weight.prepared,
          .scales = weight.prepared + FragmentScaleOffset(weight.format, weight.n, weight.k),
          .n = weight.n,
          .k = weight.k};
}

// Tokens first .. first+count−1 of a view.
template <typename T, int kRank>
TensorView<T, kRank> RowsOf(TensorView<T, kRank> view, int64_t first, int64_t count) {
  view.data = view.row(first);
  view.shape[0] = count;
  return view;
}

// Calls run(first, count) for slices of at most kStreamTokens of `tokens` tokens: how a product of
// many tokens is made of small ones.
template <typename Run>
void InSlicesOfTokens(int64_t tokens, const Run& run) {
  for (int64_t t = 0; t < tokens; t += kStreamTokens) run(t, std::min(kStreamTokens, tokens - t));
}

}  // namespace tandem::kernels::cuda
