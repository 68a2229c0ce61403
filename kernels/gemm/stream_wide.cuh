// SPDX-License-Identifier: Apache-2.0
// The streaming product of 17 to 64 tokens: as in stream.cuh, with the same sums, but inputs too
// many for a warp's registers. The warps of a block that share a part of K share its inputs, a tile
// of 32 columns at a time, through a ring of kDepth tiles in shared memory; weights go through a
// ring of each warp's own beside it. One barrier of these warps a tile. Internal to kernels/gemm.
#pragma once

#include "kernels/gemm/stream.cuh"

namespace tandem::kernels::cuda {

template <typename Atom, int kColumns>
struct WideTile {
  static constexpr int kLoads = Atom::kLoads / Atom::kTiles;
  static constexpr int kCodeBytes = kLoads * kWarpLoadBytes;           // of a warp
  static constexpr int kTokenBytes = 4 * sizeof(typename Atom::Unit);  // dense: no bank conflicts
  static constexpr int kInputBytes = 8 * kColumns * kTokenBytes;       // of a part of K
};

// A warp's place, and the group of warps with the same part of K.
struct WideWarp {
  int row_warp, part, row_warps;
  // All threads of the group.
  __device__ void Synchronize() const {
    if (row_warps == 1) {
      __syncwarp();
    } else {
      asm volatile("bar.sync %0, %1;" ::"r"(1 + part), "r"(32 * row_warps) : "memory");
    }
  }
};

template <typename Atom, int kColumns, int kDepth>
class WideWalk {
 public:
  // `inputs` and `codes`: the rings of the group and of the warp.
  __device__ WideWalk(const WeightView& w, int64_t row_tile, int begin, int end,
                      const WideWarp& warp, uint8_t* inputs, uint8_t* codes)
      : warp_(warp),
        begin_(begin),
        tiles_((end - begin) * Atom::kTiles),
        inputs_(inputs),
        codes_(codes + kLoadBytes * ThreadLane()) {
    const int64_t load = row_tile * LoadsPerRow(Atom::kFormat, w.k) + Atom::kLoads * begin;
    from_ = w.codes + load * kWarpLoadBytes + kLoadBytes * ThreadLane();
    scale_row_ = Atom::ScaleRow(w, row_tile, ThisLane()) + begin * Atom::kScaleBytes;
#pragma unroll
    for (int s = 0; s < kDepth - 1; ++s) {
      if (s < tiles_) CopyCodes(s, s);
      ptx::CopyAsyncCommit();
    }
  }

  __device__ void Run(const InputView& in, float (&total)[1][kColumns][4]) {
#pragma unroll
    for (int s = 0; s < kDepth - 1; ++s) {
      if (s < tiles_) CopyInputs(in, s, s);
      ptx::CopyAsyncCommit();
    }
    for (int tile = 0; tile < tiles_; tile += Atom::kTiles) {
      typename Atom::Part part[kColumns];
      const auto row_scale = Atom::LoadRowScale(scale_row_);
      scale_row_ += Atom::kScaleBytes;
#pragma unroll
      for (int i = 0; i < Atom::kTiles; ++i) {
        ptx::CopyAsyncWait<kDepth - 2>();
        warp_.Synchronize();  // the tile is there for all, and the slot before it free
        const int slot = kFixedSlots ? i % kDepth : slot_;
        const int next = tile + i + kDepth - 1, free = slot == 0 ? kDepth - 1 : slot - 1;
        if (next < tiles_) {
          CopyCodes(next, free);
          CopyInputs(in, next, free);
        }
        ptx::CopyAsyncCommit();
        Multiply(i, slot, row_scale, total, part);
        if (!kFixedSlots) slot_ = slot_ + 1 == kDepth ? 0 : slot_ + 1;
      }
      asm volatile("" ::: "memory");  // scales are not to be loaded early: no registers for them
#pragma unroll
      for (int column = 0; column < kColumns; ++column) {
        const auto row = Atom::RowOf(in, column, begin_ + tile / Atom::kTiles, ThisLane());
        Atom::EndStep(total[0][column], part[column], row_scale, Atom::LoadInputScale(row, 0));
      }
    }
  }

 private:
  using Tile = WideTile<Atom, kColumns>;
  // A step goes round the ring: slots are known when this is compiled.
  static constexpr bool kFixedSlots = Atom::kTiles % kDepth == 0;

  __device__ static int ThreadLane() {
    return static_cast<int>(threadIdx.x) % 32;
  }

  __device__ void CopyCodes(int tile, int slot) {
    const uint32_t to = ptx::SharedAddress(codes_) + slot * Tile::kCodeBytes;
#pragma unroll
    for (int i = 0; i < Tile::kLoads; ++i) {
      ptx::CopyAsyncStream16(to + i * kWarpLoadBytes,
                             from_ + (tile * Tile::kLoads + i) * kWarpLoadBytes);
    }
  }
  // The group's threads copy sixteen bytes each.
  __device__ void CopyInputs(const InputView& in, int tile, int slot) {
    constexpr int kPieces = Tile::kTokenBytes / kLoadBytes;
    const uint8_t* from = in.x + (begin_ * Atom::kTiles + tile) * Tile::kTokenBytes;
    uint8_t* to = inputs_ + slot * Tile::kInputBytes;
    for (int i = 32 * warp_.row_warp + ThreadLane(); i < in.tokens * kPieces;
         i += 32 * warp_.row_warps) {
      ptx::CopyAsync16(
          to + kLoadBytes * i,
          from + static_cast<uint32_t>(i / kPieces) * in.x_stride + i % kPieces * kLoadBytes);
    }
  }
  __device__ void Multiply(int tile, int slot, const typename Atom::RowScale& row_scale,
                           float (&total)[1][kColumns][4], typename Atom::Part (&part)[kColumns]) {
    const Lane lane = ThisLane();
    uint4 loads[Atom::kLoads];  // only those of the tile are read
#pragma unroll
    for (int i = 0; i < Tile::kLoads; ++i) {
      loads[tile * Tile::kLoads + i] =
          *reinterpret_cast<const uint4*>(codes_ + slot * Tile::kCodeBytes + i * kWarpLoadBytes);
    }
    const typename Atom::A a = Atom::UnpackA(loads, tile);
    const uint8_t* inputs = inputs_ + slot * Tile::kInputBytes + lane.g * Tile::kTokenBytes +
                            lane.c * static_cast<int>(sizeof(typename Atom::Unit));
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      const auto unit =
          *reinterpret_cast<const typename Atom::Unit*>(inputs + 8 * column * Tile::kTokenBytes);
      Atom::Multiply(total[0][column], part[column], a, Atom::UnpackB(unit), row_scale, {}, tile);
    }
  }

  WideWarp warp_;
  int begin_;  // step
  int tiles_;
  uint8_t* inputs_;
  uint8_t* codes_;       // this lane's part
  const uint8_t* from_;  // of the first tile
  const uint8_t* scale_row_;
  int slot_ = 0;
};

// Bytes of shared memory; the sums take the rings' place when these are done.
template <typename Atom, int kColumns, int kDepth>
int64_t WideSharedBytes(const StreamPlan& plan) {
  using Tile = WideTile<Atom, kColumns>;
  const int64_t warps = plan.row_warps * plan.split;
  const int64_t rings =
      kDepth * (int64_t{plan.split} * Tile::kInputBytes + warps * Tile::kCodeBytes);
  const int64_t sums = warps * 8 * kColumns * kSumStride<1> * int64_t{sizeof(float)};
  return rings > sums ? rings : sums;
}

template <typename Atom, typename Output, int kColumns, int kDepth>
__global__ void __maxnreg__(128) WideStreamKernel(StreamArgs args, StreamPlan plan) {
  ptx::GridDependencyLaunch();
  using Tile = WideTile<Atom, kColumns>;
  extern __shared__ __align__(16) float shared[];
  const int index = static_cast<int>(threadIdx.x) / 32, tokens = static_cast<int>(args.tokens);
  const WideWarp warp = {index / plan.split, index % plan.split, plan.row_warps};
  const int64_t row_tile = int64_t{blockIdx.x} * plan.row_warps + warp.row_warp;
  const int64_t rows = RowTiles(args.weight.n);
  // Warps beyond the last row tile go along for their part of the inputs.
  const int64_t mine = row_tile < rows ? row_tile : rows - 1;
  const int steps = StepsOf<Atom>(args.weight.k);
  const int begin = steps * warp.part / plan.split, end = steps * (warp.part + 1) / plan.split;
  auto* bytes = reinterpret_cast<uint8_t*>(shared);
  uint8_t* codes = bytes + plan.split * kDepth * Tile::kInputBytes;
  WideWalk<Atom, kColumns, kDepth> walk(args.weight, mine, begin, end, warp,
                                        bytes + warp.part * kDepth * Tile::kInputBytes,
                                        codes + index * kDepth * Tile::kCodeBytes);
  // One input for the whole block: its row tiles are of one group (StreamLinear).
  const InputView in = InputsOf<Atom>(args, int64_t{blockIdx.x} * plan.row_warps);
  if (warp.row_warp == 0) PrefetchInputs<Atom>(in, begin, end);
  ptx::GridDependencyWait();
  float total[1][kColumns][4] = {};
  walk.Run(in, total);
  __syncthreads();  // the rings are done
  const int part_sums = tokens * kSumStride<1>;
  KeepSums<1, kColumns>(total, tokens, shared + index * part_sums);
  __syncthreads();
  if (row_tile < rows) {
    StoreSums<Output, 1>(args, plan, row_tile, shared + warp.row_warp * plan.split * part_sums,
                         static_cast<int>(threadIdx.x) - 32 * warp.row_warp * plan.split,
                         32 * plan.split);
  }
}

template <typename Atom, typename Output, int kColumns, int kDepth>
void LaunchWideStream(const char* name, const StreamArgs& args, const StreamPlan& plan,
                      Stream& stream) {
  Launch({.name = name,
          .grid = dim3(Blocks(RowTiles(args.weight.n), plan.row_warps)),
          .threads = 32 * plan.row_warps * plan.split,
          .shared_bytes = WideSharedBytes<Atom, kColumns, kDepth>(plan)},
         stream, WideStreamKernel<Atom, Output, kColumns, kDepth>, args, plan);
}

}  // namespace tandem::kernels::cuda
