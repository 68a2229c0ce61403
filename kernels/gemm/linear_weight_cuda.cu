// SPDX-License-Identifier: Apache-2.0
// Preparation: checkpoint bytes to fragment order by a kernel, through a staging buffer where the
// bytes are in host memory. Its kernels follow each other plainly on a queue of their own: no step
// waits for them, and a staging buffer is written again right after its use.
#include <algorithm>

#include "kernels/common/contract.h"
#include "kernels/common/cuda/launch.h"
#include "kernels/gemm/fragment_order.h"
#include "kernels/gemm/linear_weight.h"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kStagingBytes = int64_t{32} << 20;

int64_t RowBytes(const LinearWeight& weight) {
  return weight.k * CodeBits(weight.format) / 8;
}
int64_t ScaleRowBytes(const LinearWeight& weight) {
  return weight.format == WeightFormat::kFp4 ? weight.k / 32 : weight.k / 128;
}
int64_t PreparedScales(const LinearWeight& weight) {
  if (weight.format == WeightFormat::kFp4) return RowTiles(weight.n) * kTileRows * weight.k / 32;
  return ScaleCount(weight);
}

// Some of a weight's rows: n of them at `bytes`, packed behind `codes`. A thread packs the sixteen
// bytes that one lane will load.
struct PackArgs {
  WeightFormat format;
  const uint8_t* bytes;
  int64_t n, k, row_bytes, loads;  // loads a row tile
  uint8_t* codes;
};

// Code of a row and column as a number; zero beyond the matrix.
__device__ uint32_t CodeAt(const PackArgs& args, int64_t row, int64_t column) {
  if (row >= args.n || column >= args.k) return 0;
  const uint8_t* bytes = args.bytes + row * args.row_bytes;
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
        const int code = at / 4 % 4 * 2 + at / 16 % 2;  // kFp4Place, which device code cannot index
        column = (2 * load + at / 64) * kTileColumns + kUnitCodes * c + code;
      } else {
        column = load / 2 * kTileColumns + kUnitCodes * c + load % 2 * 4 + at % 64 / 16;
      }
      words[w] |= CodeAt(args, row_tile * kTileRows + g + 8 * half, column) << bit;
    }
  }
  reinterpret_cast<uint4*>(args.codes)[unit] = {words[0], words[1], words[2], words[3]};
}

__global__ void __launch_bounds__(kThreads)
    PackFp4ScalesKernel(const uint8_t* from, int64_t n, int64_t k, uint8_t* to) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x, groups = k / 32;
  if (i >= RowTiles(n) * kTileRows * groups) return;
  const int64_t row = i / groups, group = i % groups;
  to[Fp4ScaleByte(k, row, 32 * group)] = row < n ? from[row * groups + group] : 0;
}

void Must(cudaError_t error) {
  KERNEL_CHECK_EQ(error, cudaSuccess);
}

bool OnDevice(const uint8_t* bytes) {
  cudaPointerAttributes attributes = {};
  Must(cudaPointerGetAttributes(&attributes, bytes));
  return attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
}

// A thread's own queue and buffer, made once: weights come by ten thousands.
class Workshop {
 public:
  Workshop() {
    Must(cudaStreamCreateWithFlags(&queue_, cudaStreamNonBlocking));
    Must(cudaMalloc(reinterpret_cast<void**>(&staging_), kStagingBytes));
  }
  ~Workshop() {
    // At exit the driver may be gone before the thread: nothing is left to free then.
    (void)cudaFree(staging_);
    (void)cudaStreamDestroy(queue_);
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;

  cudaStream_t queue() const { return queue_; }
  // The bytes on the device: where they are, or in the buffer, once its last use is over.
  const uint8_t* Bring(const uint8_t* bytes, int64_t size) {
    if (OnDevice(bytes)) return bytes;
    KERNEL_CHECK_LE(size, kStagingBytes);
    Must(cudaMemcpyAsync(staging_, bytes, static_cast<size_t>(size), cudaMemcpyHostToDevice,
                         queue_));
    return staging_;
  }

 private:
  cudaStream_t queue_ = nullptr;
  uint8_t* staging_ = nullptr;
};

// Row tiles of W in pieces that the staging buffer holds.
void PackCodes(const LinearWeight& weight, Workshop& workshop, uint8_t* codes) {
  const int64_t row_bytes = RowBytes(weight), loads = LoadsPerRow(weight.format, weight.k);
  const int64_t most = std::max<int64_t>(kStagingBytes / row_bytes / kTileRows * kTileRows, 1);
  for (int64_t row = 0; row < weight.n; row += most) {
    const int64_t rows = std::min(most, weight.n - row);
    const PackArgs args = {
        .format = weight.format,
        .bytes = workshop.Bring(weight.bytes + row * row_bytes, rows * row_bytes),
        .n = rows,
        .k = weight.k,
        .row_bytes = row_bytes,
        .loads = loads,
        .codes = codes + row / kTileRows * loads * kWarpLoadBytes};
    PackKernel<<<Blocks(RowTiles(rows) * loads * 32, kThreads), kThreads, 0, workshop.queue()>>>(
        args);
    Must(cudaGetLastError());
  }
}

void PackScales(const LinearWeight& weight, Workshop& workshop, uint8_t* scales) {
  if (weight.format == WeightFormat::kBf16) return;
  if (weight.format == WeightFormat::kFp8) {
    Must(cudaMemcpyAsync(scales, weight.scales, static_cast<size_t>(ScaleCount(weight)),
                         cudaMemcpyDefault, workshop.queue()));
    return;
  }
  const int64_t row_bytes = ScaleRowBytes(weight);
  const int64_t most = kStagingBytes / row_bytes / kTileRows * kTileRows;
  for (int64_t row = 0; row < weight.n; row += most) {
    const int64_t rows = std::min(most, weight.n - row);
    const uint8_t* from = workshop.Bring(weight.scales + row * row_bytes, rows * row_bytes);
    const int64_t count = RowTiles(rows) * kTileRows * row_bytes;
    PackFp4ScalesKernel<<<Blocks(count, kThreads), kThreads, 0, workshop.queue()>>>(
        from, rows, weight.k, scales + Fp4ScaleByte(weight.k, row, 0));
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
  Must(cudaStreamSynchronize(workshop.queue()));
  weight->prepared = storage.data();
}

}  // namespace tandem::kernels::cuda
