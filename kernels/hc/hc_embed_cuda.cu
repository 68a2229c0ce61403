// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/hc/hc_embed.h"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 128;

// A thread reads one item of a token's embedding and writes it to every stream.
template <typename Item>
__global__ void __launch_bounds__(kThreads) HcEmbedKernel(HcEmbedArgs args) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  constexpr int kValues = sizeof(Item) / sizeof(Bf16);
  const int64_t dim = args.embed.shape[1], count = args.streams.shape[1];
  const int64_t d = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kValues, t = blockIdx.y;
  if (d >= dim) return;
  const Item item = *reinterpret_cast<const Item*>(args.embed.data + args.tokens[t] * dim + d);
  for (int64_t i = 0; i < count; ++i) {
    *reinterpret_cast<Item*>(args.streams.data + (t * count + i) * dim + d) = item;
  }
}

}  // namespace

void HcEmbed(const HcEmbedArgs& args, Stream& stream) {
  CheckHcEmbed(args);
  const bool vectors = args.embed.shape[1] % 8 == 0 &&
                       reinterpret_cast<uintptr_t>(args.embed.data) % 16 == 0 &&
                       reinterpret_cast<uintptr_t>(args.streams.data) % 16 == 0;
  const int64_t items = args.embed.shape[1] / (vectors ? 8 : 1);
  const LaunchConfig config = {
      .name = "hc_embed",
      .grid = dim3(Blocks(items, kThreads), static_cast<unsigned>(args.tokens.shape[0])),
      .threads = kThreads};
  if (vectors) {
    Launch(config, stream, HcEmbedKernel<uint4>, args);
  } else {
    Launch(config, stream, HcEmbedKernel<uint16_t>, args);
  }
}

}  // namespace tandem::kernels::cuda
