// SPDX-License-Identifier: Apache-2.0
// The kernels behind hc_pre, hc_head and the fused operations, and the choice between them.
//
//   HcRows     up to 16 tokens: a block a chunk, so that fn's megabyte and a half comes in at once.
//              Of one token the last block to arrive finishes it: one launch. Which block that is
//              changes from run to run, what it computes does not.
//   HcTiles    more tokens: a block has 64 tokens and one chunk or one group of them, whose
//              weights it splits once for all its warps.
//   HcFinish   a block a token, behind either.
#include <algorithm>

#include "kernels/common/cuda/launch.h"
#include "kernels/hc/hc_finish.cuh"
#include "kernels/hc/hc_job.h"
#include "kernels/hc/hc_mix.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kPadded = 40;  // floats of a row of partial sums in shared memory
constexpr int kTileWarps = 4;
constexpr int kSplitPlaces = 3;  // uint4 of a lane's weights

// One of 16 rows with all that hc_post of one stream wants of it.
struct PostRow {
  uint4 x[kHcStreams] = {};
  uint4 y = {};
  float comb[kHcStreams] = {};
  float post = 0;
};

__device__ __forceinline__ void LoadPostRow(const HcMixArgs& args, int t, int stream, int d,
                                            PostRow* row) {
  const Bf16* x = args.streams + int64_t{t} * kHcStreams * args.dim + d;
#pragma unroll
  for (int i = 0; i < kHcStreams; ++i) row->x[i] = LoadL2(x + i * args.dim);
  row->y = LoadL2(args.y + int64_t{t} * args.dim + d);
#pragma unroll
  for (int i = 0; i < kHcStreams; ++i) {
    row->comb[i] = args.comb[(t * kHcStreams + i) * kHcStreams + stream];
  }
  row->post = args.post[t * kHcStreams + stream];
}

// The stream's eight dims of rows g and g + 8, after hc_post if there is one. With it every warp
// has read its rows before any writes: the whole block takes part.
template <bool kPost>
__device__ __forceinline__ void LoadRows(const HcMixArgs& args, int tile, int stream, int d,
                                         bool mixing, uint4 (&x)[2]) {
  const int g = static_cast<int>(threadIdx.x) % 32 / 4;
  if constexpr (!kPost) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int t = g + 8 * h;
      x[h] = mixing && t < args.tokens
                 ? LoadL2(args.streams + (int64_t{t} * kHcStreams + stream) * args.dim + d)
                 : uint4{};
    }
  } else {
    PostRow row[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (mixing && g + 8 * h < args.tokens) LoadPostRow(args, g + 8 * h, stream, d, &row[h]);
      x[h] = PostVector(row[h].x, row[h].y, row[h].comb, row[h].post);
    }
    __syncthreads();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int t = g + 8 * h;
      if (!mixing || tile != 0 || t >= args.tokens) continue;
      Bf16* out = args.streams + (int64_t{t} * kHcStreams + stream) * args.dim + d;
      *reinterpret_cast<uint4*>(out) = x[h];
    }
  }
}

// Counts the block in; true in the last of the grid, which may then read what the others wrote
// before, and which resets the count.
__device__ __forceinline__ bool ArriveLast(uint32_t* count) {
  __shared__ uint32_t before;
  __syncthreads();
  if (threadIdx.x == 0) {
    asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;"
                 : "=r"(before)
                 : "l"(count)
                 : "memory");
    if (before == gridDim.x - 1) *count = 0;
  }
  __syncthreads();
  return before == gridDim.x - 1;
}

template <bool kPost, HcOutput kOutput>
__global__ void __launch_bounds__(kFinishThreads, 1)
    HcRows(HcMixArgs args, HcFinishArgs finish, uint32_t* arrivals) {
  constexpr int kTiles = kOutput == HcOutput::kHead ? 1 : 3;
  __shared__ float sums[kHcStreams][kHcRows][kPadded];
  __shared__ HcFinishShared shared;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int stream = warp % kHcStreams, tile = warp / kHcStreams;
  const bool mixing = tile < kTiles;
  const int chunk = static_cast<int>(blockIdx.x);
  const int d = chunk * kHcChunk + lane % 4 * 8;
  SplitWeights weights = {};
  if (mixing) weights = Split(LoadWeights(args, 8 * tile + lane / 4, stream, d));
  if (kOutput == HcOutput::kQuant && threadIdx.x == 0) {
    ptx::PrefetchL2(finish.norm + chunk * kHcChunk);
  }
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  uint4 x[2];
  LoadRows<kPost>(args, tile, stream, d, mixing, x);
  if (mixing) {
    float sum[4];
    StreamProduct(x[0], x[1], weights, sum);
    float(&rows)[kHcRows][kPadded] = sums[stream];
    const int g = lane / 4, n = 8 * tile + lane % 4 * 2;
    rows[g][n] = sum[0];
    rows[g][n + 1] = sum[1];
    rows[g + 8][n] = sum[2];
    rows[g + 8][n + 1] = sum[3];
    if (tile == 0) {
      const float low = StreamSquares(x[0]), high = StreamSquares(x[1]);
      if (lane % 4 == 0) {
        rows[g][kHcSquare] = low;
        rows[g + 8][kHcSquare] = high;
      }
    }
  }
  __syncthreads();
  for (int t = warp; t < args.tokens; t += static_cast<int>(blockDim.x) / 32) {
    if (lane > kHcSquare) continue;
    const float sum =
        __fadd_rn(__fadd_rn(__fadd_rn(sums[0][t][lane], sums[1][t][lane]), sums[2][t][lane]),
                  sums[3][t][lane]);
    args.partial[(int64_t{t} * args.entries + chunk) * kHcPartial + lane] = sum;
  }
  if (arrivals == nullptr || !ArriveLast(arrivals)) return;
  for (int t = 0; t < args.tokens; ++t) {
    FinishToken<kOutput>(finish, t, &shared);
    __syncthreads();
  }
}

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

// A warp has 16 tokens; the block's chunks become one entry.
template <bool kPost, int kTiles>
__global__ void __launch_bounds__(32 * kTileWarps, 3) HcTiles(HcMixArgs args, int chunks) {
  __shared__ uint4 weights[2][kTiles * kHcStreams * kSplitPlaces * 32];
  __shared__ RowWeights row_weights[kPost ? kTileWarps : 1][kHcRows];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4, c = lane % 4;
  const int first =
      (static_cast<int>(blockIdx.y) * (static_cast<int>(blockDim.x) / 32) + warp) * kHcRows;
  const int begin = static_cast<int>(blockIdx.x) * chunks;
  const int end = min(begin + chunks, args.dim / kHcChunk);
  FillWeights<kTiles>(args, begin, weights[0]);
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  if constexpr (kPost) FillRowWeights(args, first, row_weights[warp]);
  float sum[kTiles][4] = {}, squares[2] = {};
  for (int chunk = begin; chunk < end; ++chunk) {
    uint4 x[2][kHcStreams] = {}, y[2] = {};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int64_t t = first + g + 8 * h;
      if (t >= args.tokens) continue;
      const Bf16* from = args.streams + t * kHcStreams * args.dim + chunk * kHcChunk + 8 * c;
#pragma unroll
      for (int j = 0; j < kHcStreams; ++j) x[h][j] = LoadL2(from + j * args.dim);
      if constexpr (kPost) y[h] = LoadL2(args.y + t * args.dim + chunk * kHcChunk + 8 * c);
    }
    const int buffer = (chunk - begin) % 2;
    if (chunk > begin) FillWeights<kTiles>(args, chunk, weights[buffer]);
    __syncthreads();
    if constexpr (kPost) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int64_t t = first + g + 8 * h;
        if (t >= args.tokens) continue;
        PostAll(row_weights[warp][g + 8 * h], y[h], x[h]);
        Bf16* to = args.streams + t * kHcStreams * args.dim + chunk * kHcChunk + 8 * c;
#pragma unroll
        for (int j = 0; j < kHcStreams; ++j) *reinterpret_cast<uint4*>(to + j * args.dim) = x[h][j];
      }
    }
    AddChunk<kTiles>(x, weights[buffer], sum, squares);
  }
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

// The last tokens first: their streams are still in L2.
template <HcOutput kOutput>
__global__ void __launch_bounds__(kFinishThreads, 1) HcFinish(HcFinishArgs args) {
  __shared__ HcFinishShared shared;
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  FinishToken<kOutput>(args, gridDim.x - 1 - blockIdx.x, &shared);
}

struct Plan {
  bool rows = false;  // HcRows
  bool one = false;   // … and its last block finishes
  int chunks = 1;     // a block of HcTiles
};

// One token: the second launch costs more than one block's work on it. Tiles: a chunk a block while
// blocks are few; a group a block, hence fewer partial sums, once tokens alone fill the machine.
Plan PlanOf(int64_t tokens) {
  if (tokens <= kHcRows) return {.rows = true, .one = tokens == 1};
  if (tokens < 512) return {};
  return {.chunks = kHcGroup};
}

template <bool kPost, HcOutput kOutput>
void RunWith(const HcJob& job, const HcMixArgs& mix, const HcFinishArgs& finish, const Plan& plan,
             Stream& stream) {
  constexpr int kTiles = kOutput == HcOutput::kHead ? 1 : 3;
  const unsigned chunks = Blocks(job.dim, kHcChunk);
  if (plan.rows) {
    Launch({.name = job.name,
            .grid = dim3(chunks),
            .threads = plan.one ? kFinishThreads : 32 * kHcStreams * kTiles},
           stream, HcRows<kPost, kOutput>, mix, finish, plan.one ? stream.arrivals() : nullptr);
    if (plan.one) return;
  } else {
    Launch({.name = job.name,
            .grid = dim3(Blocks(chunks, plan.chunks), Blocks(job.tokens, kTileWarps * kHcRows)),
            .threads = 32 * kTileWarps},
           stream, HcTiles<kPost, kTiles>, mix, plan.chunks);
  }
  Launch({.name = job.name,
          .grid = dim3(static_cast<unsigned>(job.tokens)),
          .threads = kFinishThreads},
         stream, HcFinish<kOutput>, finish);
}

}  // namespace

void RunHcJob(const HcJob& job, Stream& stream) {
  KERNEL_CHECK_EQ(job.streams_count, kHcStreams);
  KERNEL_CHECK_MULTIPLE(job.dim, kHcChunk);
  KERNEL_CHECK_LE(job.dim, kMaxHcDim);
  if (job.tokens == 0) return;
  const Plan plan = PlanOf(job.tokens);
  const int64_t entries = Blocks(job.dim / kHcChunk, plan.chunks);
  Scratch scratch(stream);
  float* partial = scratch.Take<float>(job.tokens * entries * kHcPartial);
  const HcMixArgs mix = {.y = job.y,
                         .post = job.post_in,
                         .comb = job.comb_in,
                         .streams = job.streams,
                         .fn = job.fn,
                         .mixes = static_cast<int>(job.mixes),
                         .tokens = static_cast<int>(job.tokens),
                         .dim = static_cast<int>(job.dim),
                         .partial = partial,
                         .entries = static_cast<int>(entries)};
  const HcFinishArgs finish = {.partial = partial,
                               .entries = static_cast<int>(entries),
                               .per_group = kHcGroup / plan.chunks,
                               .streams = job.streams,
                               .base = job.base,
                               .scale = job.scale,
                               .dim = static_cast<int>(job.dim),
                               .norm_eps = job.norm_eps,
                               .hc_eps = job.hc_eps,
                               .iterations = job.iterations,
                               .x = job.x,
                               .post = job.post,
                               .comb = job.comb,
                               .norm = job.norm,
                               .q = job.q,
                               .q_scale = job.q_scale};
  if (job.mixes == kHcStreams) {
    RunWith<false, HcOutput::kHead>(job, mix, finish, plan, stream);
  } else if (job.norm == nullptr) {
    RunWith<false, HcOutput::kPre>(job, mix, finish, plan, stream);
  } else if (job.y == nullptr) {
    RunWith<false, HcOutput::kQuant>(job, mix, finish, plan, stream);
  } else {
    RunWith<true, HcOutput::kQuant>(job, mix, finish, plan, stream);
  }
}

}  // namespace tandem::kernels::cuda
