// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/common/cuda/launch.h"
#include "kernels/moe/moe_experts_small.h"
#include "kernels/moe/small_down.cuh"
#include "kernels/moe/small_gates.cuh"

namespace tandem::kernels::cuda {
namespace {

// Up to so many blocks, one of sixteen warps a multiprocessor gives more warps than two of eight.
constexpr int64_t kWideBlocks = 160;

void LaunchKernels(const SmallArguments& args, Stream& stream) {
  const int64_t tokens = args.routes.tokens, pairs = tokens * args.routes.topk;
  const int64_t shared_tiles = args.shared_inner / kTileRows;
  const int64_t items = shared_tiles + pairs * args.inner / kTileRows;
  const bool own_row = args.unquantised != nullptr;
  static const int ring_blocks = RingBlocks(GateUpKernel<false>);
  const int64_t at_once = int64_t{own_row ? kGateBlocks : ring_blocks} * Multiprocessors();
  const int64_t gate_blocks = std::min(items, at_once);
  KERNEL_CHECK_LE(shared_tiles, gate_blocks);
  SmallArguments gates = args;
  gates.shared_block = static_cast<int32_t>(
      std::clamp<int64_t>(Multiprocessors() - shared_tiles, 0, gate_blocks - 1));
  Launch({.name = "moe_experts gate_up",
          .grid = dim3(static_cast<unsigned>(gate_blocks)),
          .threads = kGateThreads,
          .shared_bytes = own_row ? OwnRow::Bytes(args.dim) : kGateRings},
         stream, own_row ? GateUpKernel<true> : GateUpKernel<false>, gates);
  SmallArguments down = args;
  if (args.chosen != nullptr) {
    down.routes.scores = nullptr;
    down.routes.experts = args.chosen;
    down.routes.weight = args.chosen_weight;
  }
  const int64_t staged = StagedInput::Bytes(static_cast<int>(tokens));
  const int64_t sums = (pairs << PartBits(args.w2[0].fp4)) + (tokens << PartBits(args.w2[1].fp4));
  const int64_t sum_bytes = int64_t{sizeof(float)} * kDownRows * sums;
  const int64_t blocks = args.dim / kDownRows;
  const bool wide =
      blocks <= kWideBlocks && 16 * staged + sum_bytes + int64_t{sizeof(Plan)} <= kMaxSharedBytes;
  const int warps = wide ? 16 : 8;
  Launch({.name = "moe_experts down",
          .grid = dim3(static_cast<unsigned>(blocks)),
          .threads = 32 * warps,
          .shared_bytes = warps * staged + sum_bytes},
         stream, wide ? DownKernel<16> : DownKernel<8>, down);
}

}  // namespace

void MoeExpertsSmall(const MoeExpertsArgs& args, const Routes& routes, const HalfRows& x,
                     Stream& stream) {
  const int64_t tokens = args.x.shape[0], dim = args.x.shape[1];
  KERNEL_CHECK_LE(tokens, SmallTokens(routes.topk));
  KERNEL_CHECK_LE(routes.topk, kMaxTopk);
  KERNEL_CHECK_MULTIPLE(dim, kGroupColumns);
  if (tokens == 0) return;
  KERNEL_CHECK(x.codes != nullptr || tokens == 1);
  Scratch scratch(stream);
  SmallArguments arguments{ProductsOf(args, x, scratch)};
  if (x.codes == nullptr) arguments.unquantised = args.x.data;
  arguments.routes = routes;
  if (routes.scores != nullptr) {
    arguments.chosen = scratch.Take<int32_t>(tokens * routes.topk);
    arguments.chosen_weight = scratch.Take<float>(tokens * routes.topk);
  }
  arguments.y = args.y.data;
  LaunchKernels(arguments, stream);
}

}  // namespace tandem::kernels::cuda
