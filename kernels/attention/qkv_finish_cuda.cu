// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/compressor.cuh"
#include "kernels/attention/qkv_finish.cuh"
#include "kernels/attention/qkv_finish.h"
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/quant/index_query.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kWarps = 8;
// Beyond, every part is long enough to be a launch of its own, with its own registers.
constexpr int64_t kTogetherTokens = 64;

// One warp a vector: the heads of a token, then its kv.
__global__ void __launch_bounds__(32 * kWarps) QkvFinishKernel(QkvFinishArgs args) {
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  FinishVector(args, blockIdx.x, int64_t{blockIdx.y} * kWarps + threadIdx.x / 32);
}

// Blocks of all parts side by side, of as many threads as the compressor's: its blocks first, since
// a row that is completed takes longest.
struct FinishBlocks {
  int compressor, indexer, query;
  int token;  // a token
};

template <typename S>
__global__ void __launch_bounds__(S::kThreads)
    FinishAllKernel(const __grid_constant__ QkvFinishArgs args, FinishBlocks blocks) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  int block = static_cast<int>(blockIdx.x);
  if (block < blocks.compressor) return CompressorBlock<S>(args.compressor, block);
  block -= blocks.compressor;
  if constexpr (S::kOverlap) {
    if (block < blocks.indexer) return CompressorBlock<IndexerShape>(args.indexer, block);
    block -= blocks.indexer;
    if (block < blocks.query) return IndexQueryBlock(args.index_query, block);
    block -= blocks.query;
  }
  const int t = block / blocks.token;
  FinishVector(
      args, t,
      (block - t * blocks.token) * (S::kThreads / 32) + static_cast<int>(threadIdx.x) / 32);
}

template <typename S>
void FinishAll(const QkvFinishArgs& args, Stream& stream) {
  const FinishBlocks blocks = {
      .compressor = static_cast<int>(CompressorBlocks<S>(args.compressor)),
      .indexer = args.indexer.u.data == nullptr
                     ? 0
                     : static_cast<int>(CompressorBlocks<IndexerShape>(args.indexer)),
      .query = static_cast<int>(Blocks(args.index_query.x.size(), S::kThreads * kLaneValues)),
      .token = static_cast<int>(Blocks(args.q.shape[1] + 1, S::kThreads / 32))};
  const int64_t all =
      blocks.compressor + blocks.indexer + blocks.query + args.q.shape[0] * blocks.token;
  Launch({.name = "qkv_finish", .grid = dim3(static_cast<unsigned>(all)), .threads = S::kThreads},
         stream, FinishAllKernel<S>, args, blocks);
}

void FinishEach(const QkvFinishArgs& args, Stream& stream) {
  Launch({.name = "qkv_finish",
          .grid = dim3(static_cast<unsigned>(args.q.shape[0]), Blocks(args.q.shape[1] + 1, kWarps)),
          .threads = 32 * kWarps},
         stream, QkvFinishKernel, args);
  if (args.compressor.u.data != nullptr) Compressor(args.compressor, stream);
  if (args.indexer.u.data != nullptr) Compressor(args.indexer, stream);
  if (args.index_query.x.data != nullptr) IndexQuery(args.index_query, stream);
}

}  // namespace

void QkvFinish(const QkvFinishArgs& args, Stream& stream) {
  CheckQkvFinish(args);
  const bool alone = args.compressor.u.data == nullptr;
  const bool is_hca = !alone && args.compressor.ratio() == 128;
  const bool has_index = args.indexer.u.data != nullptr || args.index_query.x.data != nullptr;
  if (alone || args.q.shape[0] > kTogetherTokens || (is_hca && has_index)) {
    FinishEach(args, stream);
  } else if (is_hca) {
    FinishAll<HcaShape>(args, stream);
  } else {
    FinishAll<CsaShape>(args, stream);
  }
}

}  // namespace tandem::kernels::cuda
