// SPDX-License-Identifier: Apache-2.0
// What a warp of the streaming products (stream.cuh, stream_group.cuh) does in a step of K, and
// where it has its inputs. Internal to kernels/gemm.
#pragma once

#include <cstdint>

#include "kernels/gemm/stream_atom.cuh"

namespace tandem::kernels::cuda {

// A lane's codes of a step.
template <typename Atom>
struct StepCodes {
  uint4 load[Atom::kLoads];

  // Of which `loads` are there; zeros behind them.
  __device__ static StepCodes Load(const uint8_t* slot, int loads) {
    StepCodes codes;
#pragma unroll
    for (int i = 0; i < Atom::kLoads; ++i) {
      codes.load[i] = *reinterpret_cast<const uint4*>(slot + i * kWarpLoadBytes);
      if (Atom::kRagged && i >= loads) codes.load[i] = {};
    }
    return codes;
  }
  __device__ uint32_t OneOfEach() const {
    uint32_t words = load[0].x;
#pragma unroll
    for (int i = 1; i < Atom::kLoads; ++i) words |= load[i].x;
    return words;
  }
};

// The products of a warp's part of K, step by step. Inputs of one column of tokens are loaded a
// step ahead; of more, or from shared memory (kStaged), as they are used.
template <typename Atom, int kColumns, bool kStaged = false>
class StreamSteps {
 public:
  // Reads those of weights.
  __device__ void LoadScales(const WeightView& w, int row_tile, int begin) {
    scale_row_ = Atom::ScaleRow(w, row_tile, ThisLane()) + begin * Atom::kScaleBytes;
    row_scale_ = Atom::LoadRowScale(scale_row_);
  }

  __device__ void LoadInputs(const InputView& in, int begin) {
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      inputs_[column] = Atom::RowOf(in, column, begin, ThisLane());
      input_scale_[column] = Atom::LoadInputScale(inputs_[column], 0);
    }
    if constexpr (kKeepsInputs) {
#pragma unroll
      for (int tile = 0; tile < Atom::kTiles; ++tile) {
        units_[tile] = Atom::LoadUnit(inputs_[0], tile);
      }
    }
  }

  // `more`: steps follow.
  __device__ void Step(const StepCodes<Atom>& codes, bool more, float (&total)[1][kColumns][4]) {
    typename Atom::Part part[kColumns];
#pragma unroll
    for (int tile = 0; tile < Atom::kTiles; ++tile) {
      const typename Atom::A a = Atom::UnpackA(codes.load, tile);
#pragma unroll
      for (int column = 0; column < kColumns; ++column) {
        const typename Atom::B b =
            Atom::UnpackB(kKeepsInputs ? units_[tile] : Atom::LoadUnit(inputs_[column], tile));
        Atom::Multiply(total[0][column], part[column], a, b, row_scale_, input_scale_[column],
                       tile);
      }
      if (kKeepsInputs && more) units_[tile] = Atom::LoadUnit(inputs_[0], Atom::kTiles + tile);
    }
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      Atom::EndStep(total[0][column], part[column], row_scale_, input_scale_[column]);
    }
    if (!more) return;
    scale_row_ += Atom::kScaleBytes;
    row_scale_ = Atom::LoadRowScale(scale_row_);
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      Atom::Advance(inputs_[column], 1);
      input_scale_[column] = Atom::LoadInputScale(inputs_[column], 0);
    }
  }

 private:
  static constexpr bool kKeepsInputs = kColumns == 1 && !kStaged;

  const uint8_t* scale_row_;
  InputRow inputs_[kColumns];
  typename Atom::RowScale row_scale_;  // of the step at hand
  typename Atom::InputScale input_scale_[kColumns];
  typename Atom::Unit units_[Atom::kTiles];
};

// The same for one column of tokens and kSteps steps, whose inputs and scales are asked for at once
// and stay in registers: warps then wait for nobody before they meet.
template <typename Atom>
class KeptSteps {
 public:
  static constexpr int kSteps = 4;

  __device__ void LoadScales(const WeightView& w, int row_tile, int begin) {
    const uint8_t* row = Atom::ScaleRow(w, row_tile, ThisLane()) + begin * Atom::kScaleBytes;
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      row_scale_[s] = Atom::LoadRowScale(row + s * Atom::kScaleBytes);
    }
  }

  __device__ void LoadInputs(const InputView& in, int begin) {
    InputRow row = Atom::RowOf(in, 0, begin, ThisLane());
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      input_scale_[s] = Atom::LoadInputScale(row, 0);
#pragma unroll
      for (int tile = 0; tile < Atom::kTiles; ++tile) units_[s][tile] = Atom::LoadUnit(row, tile);
      Atom::Advance(row, 1);
    }
  }

  __device__ void Step(const StepCodes<Atom>& codes, int s, float (&total)[1][1][4]) {
    typename Atom::Part part;
#pragma unroll
    for (int tile = 0; tile < Atom::kTiles; ++tile) {
      Atom::Multiply(total[0][0], part, Atom::UnpackA(codes.load, tile),
                     Atom::UnpackB(units_[s][tile]), row_scale_[s], input_scale_[s], tile);
    }
    Atom::EndStep(total[0][0], part, row_scale_[s], input_scale_[s]);
  }

 private:
  typename Atom::RowScale row_scale_[kSteps];
  typename Atom::InputScale input_scale_[kSteps];
  typename Atom::Unit units_[kSteps][Atom::kTiles];
};

}  // namespace tandem::kernels::cuda
