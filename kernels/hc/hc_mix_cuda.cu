// SPDX-License-Identifier: Apache-2.0
// The mixing product's kernels of more tokens than hc_rows_cuda.cu takes.
//
//   HcTiles    up to some hundred tokens: a block has one chunk, split once for the 16 tokens of
//              each warp.
//   HcGroups   more: the weights are split once for all (HcSplit); a block has a group of chunks,
//              the next one's streams and weights on their way while it multiplies.
#include "kernels/common/cuda/launch.h"
#include "kernels/hc/hc_job.h"
#include "kernels/hc/hc_mix.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kTileWarps = 4;
constexpr int kSplitPlaces = 3;  // uint4 of a lane's weights
constexpr int kSplitThreads = 128;

// The weights of one chunk into shared memory, split.
template <int kTiles>
__device__ __forceinline__ void FillWeights(const HcMixArgs& args, int chunk, uint4* shared) {
#pragma unroll 3
  for (int unit = static_cast<int>(threadIdx.x); unit < kTiles * kHcStreams * 32;
       unit += static_cast<int>(blockDim.x)) {
    const int lane = unit % 32, stream = unit / 32 % kHcStreams, tile = unit / 32 / kHcStreams;
    const SplitWeights w =
        Split(LoadWeights(args, 8 * tile + lane / 4, stream, chunk * kHcChunk + lane % 4 * 8));
#pragma unroll
    for (int i = 0; i < kSplitPlaces; ++i)
      shared[(unit / 32 * kSplitPlaces + i) * 32 + lane] = w.term[i];
  }
}

// post and comb of a warp's 16 rows, transposed nowhere: place i < 4 is comb[i][0..3], 4 is post.
struct RowWeights {
  float4 place[kHcStreams + 1];
};

__device__ __forceinline__ void FillRowWeights(const HcMixArgs& args, int first,
                                               RowWeights* shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int i = lane; i < kHcRows * (kHcStreams + 1); i += 32) {
    const int row = i / (kHcStreams + 1), place = i % (kHcStreams + 1), t = first + row;
    if (t >= args.tokens) continue;
    shared[row].place[place] =
        place < kHcStreams ? reinterpret_cast<const float4*>(args.comb)[t * kHcStreams + place]
                           : reinterpret_cast<const float4*>(args.post)[t];
  }
  __syncwarp();
}

// hc_post of a row's eight dims, in place.
__device__ __forceinline__ void PostAll(const RowWeights& w, const uint4& y,
                                        uint4 (&x)[kHcStreams]) {
  const float comb[kHcStreams][kHcStreams] = {
      {w.place[0].x, w.place[1].x, w.place[2].x, w.place[3].x},
      {w.place[0].y, w.place[1].y, w.place[2].y, w.place[3].y},
      {w.place[0].z, w.place[1].z, w.place[2].z, w.place[3].z},
      {w.place[0].w, w.place[1].w, w.place[2].w, w.place[3].w}};
  const uint4 a = PostVector(x, y, comb[0], w.place[4].x),
              b = PostVector(x, y, comb[1], w.place[4].y);
  const uint4 c = PostVector(x, y, comb[2], w.place[4].z),
              d = PostVector(x, y, comb[3], w.place[4].w);
  x[0] = a;
  x[1] = b;
  x[2] = c;
  x[3] = d;
}

// Adds this lane's part of one chunk: to the mixes, and to the squares of rows g and g + 8.
template <int kTiles>
__device__ __forceinline__ void AddChunk(const uint4 (&x)[2][kHcStreams], const uint4* weights,
                                         float (&sum)[kTiles][4], float (&squares)[2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    float chunk[4];
#pragma unroll
    for (int j = 0; j < kHcStreams; ++j) {
      SplitWeights w;
#pragma unroll
      for (int i = 0; i < kSplitPlaces; ++i) {
        w.term[i] = weights[((tile * kHcStreams + j) * kSplitPlaces + i) * 32 + lane];
      }
      float part[4];
      StreamProduct(x[0][j], x[1][j], w, part);
#pragma unroll
      for (int i = 0; i < 4; ++i) chunk[i] = j == 0 ? part[i] : __fadd_rn(chunk[i], part[i]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[tile][i] = __fadd_rn(sum[tile][i], chunk[i]);
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float chunk = StreamSquares(x[h][0]);
#pragma unroll
    for (int j = 1; j < kHcStreams; ++j) chunk = __fadd_rn(chunk, StreamSquares(x[h][j]));
    squares[h] = __fadd_rn(squares[h], chunk);
  }
}

// A warp's 16 tokens, and what it loads of a chunk of them.
struct ChunkRows {
  uint4 x[2][kHcStreams] = {};
  uint4 y[2] = {};
};

template <bool kPost>
__device__ __forceinline__ void LoadChunk(const HcMixArgs& args, int first, int chunk,
                                          ChunkRows* rows) {
  const int lane = static_cast<int>(threadIdx.x) % 32, d = chunk * kHcChunk + lane % 4 * 8;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int64_t t = first + lane / 4 + 8 * h;
    if (t >= args.tokens) continue;
#pragma unroll
    for (int j = 0; j < kHcStreams; ++j) {
      rows->x[h][j] = LoadL2(args.streams + (t * kHcStreams + j) * args.dim + d);
    }
    if constexpr (kPost) rows->y[h] = LoadL2(args.y + t * args.dim + d);
  }
}

// hc_post of the chunk, in registers and in memory.
__device__ __forceinline__ void PostChunk(const HcMixArgs& args, int first, int chunk,
                                          const RowWeights* weights, ChunkRows* rows) {
  const int lane = static_cast<int>(threadIdx.x) % 32, d = chunk * kHcChunk + lane % 4 * 8;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int64_t t = first + lane / 4 + 8 * h;
    if (t >= args.tokens) continue;
    PostAll(weights[lane / 4 + 8 * h], rows->y[h], rows->x[h]);
#pragma unroll
    for (int j = 0; j < kHcStreams; ++j) {
      *reinterpret_cast<uint4*>(args.streams + (t * kHcStreams + j) * args.dim + d) = rows->x[h][j];
    }
  }
}

template <int kTiles>
__device__ __forceinline__ void StorePartials(const HcMixArgs& args, int first,
                                              const float (&sum)[kTiles][4],
                                              const float (&squares)[2]) {
  const int g = static_cast<int>(threadIdx.x) % 32 / 4, c = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int64_t t = first + g + 8 * h;
    if (t >= args.tokens) continue;
    float* out = args.partial + (t * args.entries + blockIdx.x) * kHcPartial;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      *reinterpret_cast<float2*>(out + 8 * tile + 2 * c) = {sum[tile][2 * h], sum[tile][2 * h + 1]};
    }
    if (c == 0) out[kHcSquare] = squares[h];
  }
}

__device__ __forceinline__ int FirstToken() {
  return (static_cast<int>(blockIdx.y) * kTileWarps + static_cast<int>(threadIdx.x) / 32) * kHcRows;
}

template <bool kPost, int kTiles>
__global__ void __launch_bounds__(32 * kTileWarps, 3) HcTiles(HcMixArgs args) {
  __shared__ uint4 weights[kTiles * kHcStreams * kSplitPlaces * 32];
  __shared__ RowWeights row_weights[kPost ? kTileWarps : 1][kHcRows];
  const int first = FirstToken(), chunk = static_cast<int>(blockIdx.x);
  RowWeights* own = row_weights[kPost ? threadIdx.x / 32 : 0];
  FillWeights<kTiles>(args, chunk, weights);
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  ChunkRows rows;
  LoadChunk<kPost>(args, first, chunk, &rows);
  if constexpr (kPost) FillRowWeights(args, first, own);
  __syncthreads();
  if constexpr (kPost) PostChunk(args, first, chunk, own, &rows);
  float sum[kTiles][4] = {}, squares[2] = {};
  AddChunk<kTiles>(rows.x, weights, sum, squares);
  StorePartials<kTiles>(args, first, sum, squares);
}

// A thread a lane's weights of one stream and eight mixes.
template <int kTiles>
__global__ void __launch_bounds__(kSplitThreads) HcSplit(HcMixArgs args, uint4* split) {
  const int unit = static_cast<int>(blockIdx.x) * kSplitThreads + static_cast<int>(threadIdx.x);
  const int lane = unit % 32, stream = unit / 32 % kHcStreams;
  const int tile = unit / (32 * kHcStreams) % kTiles, chunk = unit / (32 * kHcStreams * kTiles);
  SplitWeights w = {};
  if (chunk < args.dim / kHcChunk) {
    w = Split(LoadWeights(args, 8 * tile + lane / 4, stream, chunk * kHcChunk + lane % 4 * 8));
  }
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  if (chunk >= args.dim / kHcChunk) return;
#pragma unroll
  for (int i = 0; i < kSplitPlaces; ++i) {
    split[(int64_t{unit} / 32 * kSplitPlaces + i) * 32 + lane] = w.term[i];
  }
}

template <bool kPost, int kTiles>
__global__ void __launch_bounds__(32 * kTileWarps) HcGroups(HcMixArgs args, const uint4* split) {
  constexpr int kPlaces = kTiles * kHcStreams * kSplitPlaces * 32;
  __shared__ uint4 weights[2][kPlaces];
  __shared__ RowWeights row_weights[kPost ? kTileWarps : 1][kHcRows];
  const int first = FirstToken(), begin = static_cast<int>(blockIdx.x) * kHcGroup;
  const int end = min(begin + kHcGroup, args.dim / kHcChunk);
  RowWeights* own = row_weights[kPost ? threadIdx.x / 32 : 0];
  const auto copy = [&](int chunk) {
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < kPlaces; i += 32 * kTileWarps) {
      ptx::CopyAsync16(&weights[(chunk - begin) % 2][i], split + int64_t{chunk} * kPlaces + i);
    }
    ptx::CopyAsyncCommit();
  };
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  copy(begin);
  ChunkRows rows, next;
  LoadChunk<kPost>(args, first, begin, &rows);
  if constexpr (kPost) FillRowWeights(args, first, own);
  float sum[kTiles][4] = {}, squares[2] = {};
#pragma unroll 1
  for (int chunk = begin; chunk < end; ++chunk) {
    if (chunk + 1 < end) LoadChunk<kPost>(args, first, chunk + 1, &next);
    ptx::CopyAsyncWait<0>();
    __syncthreads();  // the chunk's weights are there, and nobody reads the other buffer any more
    if (chunk + 1 < end) copy(chunk + 1);
    if constexpr (kPost) PostChunk(args, first, chunk, own, &rows);
    AddChunk<kTiles>(rows.x, weights[(chunk - begin) % 2], sum, squares);
    rows = next;
  }
  StorePartials<kTiles>(args, first, sum, squares);
}

template <bool kPost, int kTiles>
void Mix(const char* name, const HcMixArgs& args, Stream& stream) {
  const unsigned chunks = Blocks(args.dim, kHcChunk);
  const unsigned tiles = Blocks(args.tokens, kTileWarps * kHcRows);
  if (args.entries < static_cast<int>(chunks)) {
    constexpr int kUnits = kTiles * kHcStreams * 32;  // a chunk
    Scratch scratch(stream);
    uint4* split = scratch.Take<uint4>(int64_t{chunks} * kUnits * kSplitPlaces);
    Launch({.name = name,
            .grid = dim3(Blocks(int64_t{chunks} * kUnits, kSplitThreads)),
            .threads = kSplitThreads},
           stream, HcSplit<kTiles>, args, split);
    Launch({.name = name,
            .grid = dim3(static_cast<unsigned>(args.entries), tiles),
            .threads = 32 * kTileWarps},
           stream, HcGroups<kPost, kTiles>, args, split);
  } else {
    Launch({.name = name, .grid = dim3(chunks, tiles), .threads = 32 * kTileWarps}, stream,
           HcTiles<kPost, kTiles>, args);
  }
}

}  // namespace

void RunHcMix(const char* name, const HcMixArgs& args, Stream& stream) {
  if (args.mixes == kHcStreams) {
    Mix<false, 1>(name, args, stream);
  } else if (args.y == nullptr) {
    Mix<false, 3>(name, args, stream);
  } else {
    Mix<true, 3>(name, args, stream);
  }
}

}  // namespace tandem::kernels::cuda
