// SPDX-License-Identifier: Apache-2.0
// Preparation: checkpoint bytes to fragment order by a kernel. Bytes in host memory are gathered
// into pinned memory by the calling thread and travel from there at the bus's speed: a mapped file
// would go through the driver's own small buffers, and a part's rows one by one. Its kernels follow
// each other plainly on a queue of their own: no step waits for them.
#include <algorithm>
#include <cstring>

#include "kernels/common/contract.h"
#include "kernels/common/cuda/launch.h"
#include "kernels/gemm/fragment_order.h"
#include "kernels/gemm/linear_weight.h"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kStagingBytes = int64_t{32} << 20;

int64_t PreparedScales(const LinearWeight& weight) {
  if (weight.format == WeightFormat::kFp4) return RowTiles(weight.n) * kTileRows * weight.k / 32;
  return ScaleCount(weight);
}

// Some of a weight's rows: n of them at `bytes`, packed behind `codes`. A thread packs the sixteen
// bytes that one lane will load.
struct PackArgs {
  WeightFormat format;
  const uint8_t* bytes;
  int64_t n, k, row_stride, loads;  // loads a row tile
  uint8_t* codes;
};

// Code of a row and column as a number; zero beyond the matrix.
__device__ uint32_t CodeAt(const PackArgs& args, int64_t row, int64_t column) {
  if (row >= args.n || column >= args.k) return 0;
  const uint8_t* bytes = args.bytes + row * args.row_stride;
  switch (args.format) {
    case WeightFormat::kFp8:
      return bytes[column];
    case WeightFormat::kFp4:
      return (bytes[column / 2] >> (column % 2 * 4)) & 15u;
    case WeightFormat::kBf16:
      return bytes[2 * column] | (uint32_t{bytes[2 * column + 1]} << 8);
  }
  return 0;
}

__global__ void __launch_bounds__(kThreads) PackKernel(PackArgs args) {
  const int64_t unit = int64_t{blockIdx.x} * kThreads + threadIdx.x;  // of 16 bytes
  if (unit >= RowTiles(args.n) * args.loads * 32) return;
  const int lane = static_cast<int>(unit % 32), g = lane / 4, c = lane % 4;
  const int64_t row_tile = unit / 32 / args.loads, load = unit / 32 % args.loads;
  const int bits = CodeBits(args.format);
  uint32_t words[4] = {};
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    for (int bit = 0; bit < 32; bit += bits) {
      const int at = 32 * w + bit;  // in the sixteen bytes
      int64_t column = 0;
      int half = at / 64;
      if (args.format == WeightFormat::kFp8) {
        column = load * kTileColumns + kUnitCodes * c + at % 64 / 8;
      } else if (args.format == WeightFormat::kFp4) {
        half = at / 32 % 2;
        column = (2 * load + at / 64) * kTileColumns + kUnitCodes * c + bit / 4;
      } else {
        column = load / 2 * kTileColumns + kUnitCodes * c + load % 2 * 4 + at % 64 / 16;
      }
      const uint32_t code = CodeAt(args, row_tile * kTileRows + g + 8 * half, column);
      words[w] |= args.format == WeightFormat::kFp4 ? Fp4InUnit(code, bit / 4) : code << bit;
    }
  }
  reinterpret_cast<uint4*>(args.codes)[unit] = {words[0], words[1], words[2], words[3]};
}

__global__ void __launch_bounds__(kThreads)
    PackFp4ScalesKernel(const uint8_t* from, int64_t stride, int64_t n, int64_t k, uint8_t* to) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x, groups = k / 32;
  if (i >= RowTiles(n) * kTileRows * groups) return;
  const int64_t row = i / groups, group = i % groups;
  to[Fp4ScaleByte(k, row, 32 * group)] = row < n ? from[row * stride + group] : 0;
}

void Must(cudaError_t error) {
  KERNEL_CHECK_EQ(error, cudaSuccess);
}

bool OnDevice(const uint8_t* bytes) {
  cudaPointerAttributes attributes = {};
  Must(cudaPointerGetAttributes(&attributes, bytes));
  return attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
}

// Rows of bytes, each `stride` behind the one before.
struct Rows {
  const uint8_t* at;
  int64_t count, bytes, stride;
};

// A thread's own queue and buffers, made once: weights come by ten thousands.
class Workshop {
 public:
  Workshop() { Must(cudaStreamCreateWithFlags(&queue_, cudaStreamNonBlocking)); }
  ~Workshop() {
    // At exit the driver may be gone before the thread: nothing is left to free then.
    (void)cudaFreeHost(pinned_);
    (void)cudaFree(staging_);
    (void)cudaStreamDestroy(queue_);
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;

  cudaStream_t queue() const { return queue_; }
  // The rows on the device: where they are, or side by side in the buffer until the next Finish.
  Rows Bring(const Rows& rows) {
    if (OnDevice(rows.at)) return rows;
    const int64_t size = rows.count * rows.bytes;
    KERNEL_CHECK_LE(size, kStagingBytes);
    if (staging_ == nullptr) {
      Must(cudaMallocHost(reinterpret_cast<void**>(&pinned_), kStagingBytes));
      Must(cudaMalloc(reinterpret_cast<void**>(&staging_), kStagingBytes));
    }
    if (used_ + size > kStagingBytes) Finish();
    uint8_t* const pinned = pinned_ + used_;
    if (rows.stride == rows.bytes) {
      std::memcpy(pinned, rows.at, static_cast<size_t>(size));
    } else {
      for (int64_t i = 0; i < rows.count; ++i) {
        std::memcpy(pinned + i * rows.bytes, rows.at + i * rows.stride,
                    static_cast<size_t>(rows.bytes));
      }
    }
    uint8_t* const at = staging_ + used_;
    Must(cudaMemcpyAsync(at, pinned, static_cast<size_t>(size), cudaMemcpyHostToDevice, queue_));
    used_ += (size + kAlign - 1) / kAlign * kAlign;
    return {.at = at, .count = rows.count, .bytes = rows.bytes, .stride = rows.bytes};
  }
  // Waits for all that was queued; the buffer is free again.
  void Finish() {
    Must(cudaStreamSynchronize(queue_));
    used_ = 0;
  }

 private:
  static constexpr int64_t kAlign = 256;

  cudaStream_t queue_ = nullptr;
  uint8_t* pinned_ = nullptr;
  uint8_t* staging_ = nullptr;
  int64_t used_ = 0;
};

// Whole row tiles of so many bytes a row that a quarter of the buffer holds: while one piece
// travels, the next is gathered.
int64_t PieceRows(int64_t row_bytes) {
  return std::max<int64_t>(kStagingBytes / 4 / row_bytes / kTileRows, 1) * kTileRows;
}

void PackCodes(const LinearWeight& weight, Workshop& workshop, uint8_t* codes) {
  const int64_t loads = LoadsPerRow(weight.format, weight.k);
  const int64_t most = PieceRows(RowBytes(weight));
  for (int64_t row = 0; row < weight.n; row += most) {
    const int64_t count = std::min(most, weight.n - row);
    const Rows rows = workshop.Bring({.at = RowAt(weight, row),
                                      .count = count,
                                      .bytes = RowBytes(weight),
                                      .stride = RowAt(weight, 1) - RowAt(weight, 0)});
    const PackArgs args = {.format = weight.format,
                           .bytes = rows.at,
                           .n = count,
                           .k = weight.k,
                           .row_stride = rows.stride,
                           .loads = loads,
                           .codes = codes + row / kTileRows * loads * kWarpLoadBytes};
    PackKernel<<<Blocks(RowTiles(count) * loads * 32, kThreads), kThreads, 0, workshop.queue()>>>(
        args);
    Must(cudaGetLastError());
  }
}

void PackScales(const LinearWeight& weight, Workshop& workshop, uint8_t* scales) {
  if (weight.format == WeightFormat::kBf16) return;
  const int64_t most = PieceRows(ScaleRowBytes(weight)), end = ScaleRows(weight);
  for (int64_t row = 0; row < end; row += most) {
    const int64_t count = std::min(most, end - row);
    const Rows rows = workshop.Bring({.at = ScaleRowAt(weight, row),
                                      .count = count,
                                      .bytes = ScaleRowBytes(weight),
                                      .stride = ScaleRowAt(weight, 1) - ScaleRowAt(weight, 0)});
    if (weight.format == WeightFormat::kFp8) {
      const auto bytes = static_cast<size_t>(rows.bytes);
      Must(cudaMemcpy2DAsync(scales + row * rows.bytes, bytes, rows.at,
                             static_cast<size_t>(rows.stride), bytes, static_cast<size_t>(count),
                             cudaMemcpyDeviceToDevice, workshop.queue()));
      continue;
    }
    const int64_t bytes = RowTiles(count) * kTileRows * rows.bytes;
    PackFp4ScalesKernel<<<Blocks(bytes, kThreads), kThreads, 0, workshop.queue()>>>(
        rows.at, rows.stride, count, weight.k, scales + Fp4ScaleByte(weight.k, row, 0));
    Must(cudaGetLastError());
  }
}

}  // namespace

int64_t PreparedBytes(const LinearWeight& weight) {
  CheckLinearWeight(weight);
  return FragmentScaleOffset(weight.format, weight.n, weight.k) + PreparedScales(weight);
}

void PrepareLinear(LinearWeight* weight, std::span<uint8_t> storage) {
  KERNEL_CHECK_GE(static_cast<int64_t>(storage.size()), PreparedBytes(*weight));
  KERNEL_CHECK_EQ(reinterpret_cast<uintptr_t>(storage.data()) % 64, 0u);
  thread_local Workshop workshop;
  PackCodes(*weight, workshop, storage.data());
  PackScales(*weight, workshop,
             storage.data() + FragmentScaleOffset(weight->format, weight->n, weight->k));
  workshop.Finish();
  weight->prepared = storage.data();
}

}  // namespace tandem::kernels::cuda
