// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/compressor.cuh"
#include "kernels/attention/compressor.h"
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

template <typename S>
__global__ void __launch_bounds__(S::kThreads) CompressorKernel(CompressorArgs args) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  CompressorBlock<S>(args, static_cast<int>(blockIdx.x));
}

template <typename S>
void LaunchWith(const CompressorArgs& args, Stream& stream) {
  if (args.batch.tokens() == 0) return;
  Launch({.name = "compressor", .grid = dim3(CompressorBlocks<S>(args)), .threads = S::kThreads},
         stream, CompressorKernel<S>, args);
}

}  // namespace

void Compressor(const CompressorArgs& args, Stream& stream) {
  CheckCompressor(args);
  if (args.ratio() == 128) {
    LaunchWith<HcaShape>(args, stream);
  } else if (args.dim() == kHeadDim) {
    LaunchWith<CsaShape>(args, stream);
  } else {
    LaunchWith<IndexerShape>(args, stream);
  }
}

}  // namespace tandem::kernels::cuda
