// SPDX-License-Identifier: Apache-2.0
// MMA atoms: total[16x8] += (2^sw · W)·(2^sx · X) over a step of K in the registers of one warp,
// the seam between weights in fragment order and the matrix instructions of a machine.
//
//   F16Dequant<kFp8, kFp4>    FP8 inputs with UE8M0 per 128; f16 products, scales in fp32
//   Bf16Dequant<kFp8, kBf16>  bf16 inputs; bf16 products, scales in fp32
//   Mxf8f6f4<kFp8, kFp4>      FP8 inputs with UE8M0 per 128; codes and scales as they are
//
// The first two serve few tokens (stream.cuh), the last many (tile_mx.cuh). The 16 rows of A are
// outputs, the 8 columns of B tokens; lane 4·g + c holds rows g and g + 8, the columns 8c .. 8c+7
// of K in every tile of 32, and token g of the inputs; of the sums, tokens 2c and 2c + 1. An atom
// is a stateless type:
//
//   kFormat, kTiles, kLoads    weights; tiles of 32 in a step; 16-byte loads of a lane in a step of
//                              a row tile: tile t wants loads t·kLoads/kTiles and on
//   RowScale, InputScale       scale operands of a step, in registers
//   Unit                       a lane's eight inputs of a tile
//   A, B                       operands of one tile
//   kRagged                    K need not be whole steps
//   Part                       what a step keeps beside `total`
//   ScaleRow, LoadRowScale     where a row tile's scales stand; those of one step
//   RowOf, LoadUnit, LoadInputScale   the same for a token's inputs
//   UnpackA(loads, tile), UnpackB(unit)
//   Multiply(total, part, a, b, row_scale, input_scale, tile)   one tile
//   EndStep(total, part, row_scale, input_scale)                after the tiles of a step
//
// A Part is the step's products summed from zero, and EndStep scales it into total. Mxf8f6f4 needs
// neither: its product scales by itself and adds to the total; which scales, its caller says.
//
// Numerics: products exact; the scale 2^(sw + sx) is applied to the sum of a step (128 columns for
// kFp8; 64 for kBf16, without scales), or, kFp4, sw to each 32 columns and sx to each 128.
// Mxf8f6f4: ptx/mma_block_scale.h. Internal to kernels/gemm and kernels/moe. Source:
// fragment_order.h; PTX ISA 9.0, mma.m16n8k16.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/gemm/dequant.cuh"
#include "kernels/gemm/fragment_order.h"
#include "kernels/gemm/mx_fragment.h"
#include "kernels/ptx/async_stream.cuh"
#include "kernels/ptx/mma.cuh"
#include "kernels/ptx/mma_block_scale.cuh"
#include "kernels/ptx/mma_int8.cuh"

namespace tandem::kernels::cuda {

// A prepared weight on the device.
struct WeightView {
  const uint8_t* codes;   // fragment order
  const uint8_t* scales;  // behind them
  int64_t n, k;
};

// Inputs of one row of tiles: row-major, one token a row.
struct InputView {
  const uint8_t* x;      // first byte of token 0
  const uint8_t* scale;  // UE8M0 of token 0, or null
  uint32_t x_stride;     // bytes from token to token
  uint32_t scale_stride;
  int k;
  int tokens;  // lanes of tokens beyond read the last one: columns of B do not mix
};

struct Lane {
  int g, c;
};
__device__ __forceinline__ Lane ThisLane() {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return {lane / 4, lane % 4};
}

// 2^(byte − 127), exact for every byte below 255.
__device__ __forceinline__ float Ue8m0ToFloat(uint32_t byte) {
  return __uint_as_float(max(byte << 23, 0x00400000u));
}

struct MmaA {
  uint32_t step[2][4];
};
struct MmaB {
  uint32_t step[2][2];
};
struct StepSums {
  float sum[4] = {};
};

// Pairs of row g and of row g + 8, four each, to the operand of both steps of a tile.
__device__ __forceinline__ MmaA Interleave(const uint32_t (&low)[4], const uint32_t (&high)[4]) {
  return {{{low[0], high[0], low[1], high[1]}, {low[2], high[2], low[3], high[3]}}};
}

// A lane's inputs at the first step of its part of K.
struct InputRow {
  const uint8_t* x;      // token 8·column + g, unit c
  const uint8_t* scale;  // token 8·column + 2c
  uint32_t scale_next;   // from there to token 8·column + 2c + 1
  int k_left;            // of K, from unit c's first column on
};

__device__ __forceinline__ int TokenOf(const InputView& in, int token) {
  return min(token, in.tokens - 1);
}

// FP8 inputs, whatever the weights.
struct QuantisedInputs {
  static constexpr bool kRagged = false;
  using Unit = uint2;
  struct InputScale {
    uint32_t byte[2];  // of tokens 2c, 2c + 1
  };
  using A = MmaA;
  using B = MmaB;
  using Part = StepSums;

  __device__ static InputRow RowOf(const InputView& in, int column, int first_step, Lane lane) {
    const int token = 8 * column + 2 * lane.c;
    const int first = TokenOf(in, token), next = TokenOf(in, token + 1);
    return {.x = in.x + static_cast<uint32_t>(TokenOf(in, 8 * column + lane.g)) * in.x_stride +
                 128 * first_step + kUnitCodes * lane.c,
            .scale = in.scale + static_cast<uint32_t>(first) * in.scale_stride + first_step,
            .scale_next = static_cast<uint32_t>(next - first) * in.scale_stride,
            .k_left = 0};
  }
  __device__ static Unit LoadUnit(const InputRow& row, int tile) {
    return *reinterpret_cast<const uint2*>(row.x + kTileColumns * tile);
  }
  __device__ static InputScale LoadInputScale(const InputRow& row, int step) {
    return {{row.scale[step], (row.scale + row.scale_next)[step]}};
  }
  __device__ static void Advance(InputRow& row, int steps) {
    row.x += 128 * steps;
    row.scale += steps;
  }
  __device__ static B UnpackB(const Unit& unit) {
    uint32_t pairs[4];
    HalvesOfFp8({unit.x, unit.y}, pairs);
    return {{{pairs[0], pairs[1]}, {pairs[2], pairs[3]}}};
  }
};

// Bf16 inputs in steps of kStepColumns. kRagged: any K and any alignment, element by element.
template <bool kRaggedK, int kStepColumns>
struct Bf16Inputs {
  static constexpr bool kRagged = kRaggedK;
  using Unit = uint4;
  struct InputScale {};
  using A = MmaA;
  using B = MmaB;
  using Part = StepSums;

  __device__ static InputRow RowOf(const InputView& in, int column, int first_step, Lane lane) {
    const int first = kStepColumns * first_step + kUnitCodes * lane.c;
    return {.x = in.x + static_cast<uint32_t>(TokenOf(in, 8 * column + lane.g)) * in.x_stride +
                 2 * first,
            .scale = nullptr,
            .scale_next = 0,
            .k_left = in.k - first};
  }
  __device__ static Unit LoadUnit(const InputRow& row, int tile) {
    const uint8_t* x = row.x + 2 * kTileColumns * tile;
    if constexpr (kRagged) return Elements(x, row.k_left - kTileColumns * tile);
    return *reinterpret_cast<const uint4*>(x);
  }
  // Eight bf16, zeros from element `count` on.
  __device__ static uint4 Elements(const uint8_t* from, int count) {
    uint32_t word[4];
    const auto* x = reinterpret_cast<const uint16_t*>(from);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t low = 2 * i < count ? x[2 * i] : 0,
                     high = 2 * i + 1 < count ? x[2 * i + 1] : 0;
      word[i] = low | (high << 16);
    }
    return {word[0], word[1], word[2], word[3]};
  }
  __device__ static InputScale LoadInputScale(const InputRow&, int) {
    return {};
  }
  __device__ static void Advance(InputRow& row, int steps) {
    row.x += 2 * kStepColumns * steps;
    row.k_left -= kStepColumns * steps;
  }
  __device__ static B UnpackB(const Unit& unit) {
    return {{{unit.x, unit.y}, {unit.z, unit.w}}};
  }
};

template <WeightFormat kFormat>
struct F16Dequant;

// Weights kFp8, whatever the inputs.
struct Fp8Rows {
  static constexpr WeightFormat kFormat = WeightFormat::kFp8;
  static constexpr int kTiles = 4, kLoads = 4;
  struct RowScale {
    uint32_t byte;
  };
  static constexpr int kScaleBytes = 1;  // from step to step
  __device__ static const uint8_t* ScaleRow(const WeightView& w, int64_t row_tile, Lane) {
    return w.scales + row_tile * kTileRows / 128 * (w.k / 128);
  }
  __device__ static RowScale LoadRowScale(const uint8_t* row) { return {__ldg(row)}; }
};

template <>
struct F16Dequant<WeightFormat::kFp8> : QuantisedInputs, Fp8Rows {
  __device__ static A UnpackA(const uint4 (&loads)[kLoads], int tile) {
    uint32_t low[4], high[4];
    HalvesOfFp8({loads[tile].x, loads[tile].y}, low);
    HalvesOfFp8({loads[tile].z, loads[tile].w}, high);
    return Interleave(low, high);
  }
  __device__ static void Multiply(float (&)[4], Part& part, const A& a, const B& b, const RowScale&,
                                  const InputScale&, int) {
#pragma unroll
    for (int j = 0; j < 2; ++j) ptx::MmaF16(part.sum, a.step[j], b.step[j]);
  }
  // 2^(sw + sx) in two factors of half the exponent, so that neither leaves fp32's range alone.
  __device__ static void EndStep(float (&total)[4], const Part& part, const RowScale& w,
                                 const InputScale& x) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t exponent = w.byte + x.byte[i], half = exponent / 2;
      const float first = __uint_as_float(half << 23);
      const float second = __uint_as_float((exponent - half) << 23);
      total[i] = fmaf(part.sum[i] * first, second, total[i]);
      total[i + 2] = fmaf(part.sum[i + 2] * first, second, total[i + 2]);
    }
  }
};

template <>
struct F16Dequant<WeightFormat::kFp4> : QuantisedInputs {
  static constexpr WeightFormat kFormat = WeightFormat::kFp4;
  static constexpr int kTiles = 4, kLoads = 2;
  struct RowScale {
    uint32_t word[2];  // rows g, g + 8: a byte a tile
  };
  static constexpr int kScaleBytes = 64;
  __device__ static const uint8_t* ScaleRow(const WeightView& w, int64_t row_tile, Lane lane) {
    return w.scales + row_tile * (w.k / 128) * kScaleBytes + 4 * lane.g;
  }
  __device__ static RowScale LoadRowScale(const uint8_t* row) {
    const auto* words = reinterpret_cast<const uint32_t*>(row);
    return {{__ldg(words), __ldg(words + 8)}};
  }
  __device__ static A UnpackA(const uint4 (&loads)[kLoads], int tile) {
    const uint4& load = loads[tile / 2];
    uint32_t low[4], high[4];
    HalvesOfFp4(tile % 2 == 0 ? load.x : load.z, low);
    HalvesOfFp4(tile % 2 == 0 ? load.y : load.w, high);
    return Interleave(low, high);
  }
  __device__ static void Multiply(float (&)[4], Part& part, const A& a, const B& b,
                                  const RowScale& w, const InputScale&, int tile) {
    float sum[4] = {};
#pragma unroll
    for (int j = 0; j < 2; ++j) ptx::MmaF16(sum, a.step[j], b.step[j]);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float scale = Ue8m0ToFloat((w.word[i] >> (8 * tile)) & 255u);
      part.sum[2 * i] = fmaf(sum[2 * i], scale, part.sum[2 * i]);
      part.sum[2 * i + 1] = fmaf(sum[2 * i + 1], scale, part.sum[2 * i + 1]);
    }
  }
  __device__ static void EndStep(float (&total)[4], const Part& part, const RowScale&,
                                 const InputScale& x) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      total[i] = fmaf(part.sum[i] * kFp4HalfScale, Ue8m0ToFloat(x.byte[i % 2]), total[i]);
    }
  }
};

template <WeightFormat kFormat, bool kRagged = false>
struct Bf16Dequant;

template <>
struct Bf16Dequant<WeightFormat::kFp8> : Bf16Inputs<false, 128>, Fp8Rows {
  __device__ static A UnpackA(const uint4 (&loads)[kLoads], int tile) {
    uint32_t low[4], high[4];
    Bf16CodesOfFp8({loads[tile].x, loads[tile].y}, low);
    Bf16CodesOfFp8({loads[tile].z, loads[tile].w}, high);
    return Interleave(low, high);
  }
  __device__ static void Multiply(float (&)[4], Part& part, const A& a, const B& b, const RowScale&,
                                  const InputScale&, int) {
#pragma unroll
    for (int j = 0; j < 2; ++j) ptx::MmaBf16(part.sum, a.step[j], b.step[j]);
  }
  __device__ static void EndStep(float (&total)[4], const Part& part, const RowScale& w,
                                 const InputScale&) {
    const float scale = Ue8m0ToFloat(w.byte);
#pragma unroll
    for (int i = 0; i < 4; ++i) total[i] = fmaf(part.sum[i], scale, total[i]);
  }
};

template <bool kRaggedK>
struct Bf16Dequant<WeightFormat::kBf16, kRaggedK> : Bf16Inputs<kRaggedK, 64> {
  using Inputs = Bf16Inputs<kRaggedK, 64>;
  using typename Inputs::A;
  using typename Inputs::B;
  using typename Inputs::InputScale;
  using typename Inputs::Part;
  static constexpr WeightFormat kFormat = WeightFormat::kBf16;
  static constexpr int kTiles = 2, kLoads = 4;
  struct RowScale {};
  static constexpr int kScaleBytes = 0;
  __device__ static const uint8_t* ScaleRow(const WeightView&, int64_t, Lane) { return nullptr; }
  __device__ static RowScale LoadRowScale(const uint8_t*) { return {}; }
  __device__ static A UnpackA(const uint4 (&loads)[kLoads], int tile) {
    const uint4 &first = loads[2 * tile], &second = loads[2 * tile + 1];
    return {{{first.x, first.z, first.y, first.w}, {second.x, second.z, second.y, second.w}}};
  }
  __device__ static void Multiply(float (&)[4], Part& part, const A& a, const B& b, const RowScale&,
                                  const InputScale&, int) {
#pragma unroll
    for (int j = 0; j < 2; ++j) ptx::MmaBf16(part.sum, a.step[j], b.step[j]);
  }
  __device__ static void EndStep(float (&total)[4], const Part& part, const RowScale&,
                                 const InputScale&) {
#pragma unroll
    for (int i = 0; i < 4; ++i) total[i] += part.sum[i];
  }
};

template <WeightFormat kFormat_>
struct Mxf8f6f4 {
  static constexpr WeightFormat kFormat = kFormat_;
  static_assert(kFormat != WeightFormat::kBf16);
  using A = MxRows;
  struct B {
    uint32_t word[2];
  };
  // A tile of kFp8, or tile 0 or 1 of the two of kFp4.
  __device__ static A UnpackA(const uint4& load, int tile) {
    return MxRowsOf<kFormat>({load.x, load.y, load.z, load.w}, tile, ptx::PermuteBytes);
  }
  __device__ static B UnpackB(const uint2& unit) { return {{unit.x, unit.y}}; }
  __device__ static void Multiply(float (&total)[4], const A& a, const B& b, uint32_t row_scales,
                                  uint32_t input_scales, const ptx::ScaleSelect& select) {
    constexpr ptx::MxType kType =
        kFormat == WeightFormat::kFp4 ? ptx::MxType::kE2M1 : ptx::MxType::kE4M3;
    ptx::MmaBlockScale<kType>(total, a.word, b.word, row_scales, input_scales, select);
  }
};

}  // namespace tandem::kernels::cuda
