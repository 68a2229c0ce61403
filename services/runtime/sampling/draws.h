// SPDX-License-Identifier: Apache-2.0
// Draws: rows of logits in, tokens and log-probabilities out, for a whole step at once and where
// the logits lie.
//
// For each step: Begin tells what is wanted and puts it into the step's inputs; Run takes the rows,
// block by block and in their order, and queues operations; Fetch queues the way back; once the
// stream has come to its end, results are there. A row's result does not depend on its neighbours.
// Borrows the kernel set, the stream, and until Fetch the samplers. Not thread-safe.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "kernels/common/backend/mirror.h"
#include "kernels/kernel_set.h"
#include "services/runtime/sampling/sampler.h"

namespace tandem {

// What is wanted of one row of logits.
struct RowWish {
  const Sampler* sampler = nullptr;  // draws a token; it is not told (Sampler::Accept)
  int32_t target = -1;               // the token whose log-probability is wanted; -1 = none
};

class Draws {
 public:
  // Results of steps of up to `draws` rows, each with a sampler and at most kUsualBest best tokens,
  // never move.
  Draws(const kernels::KernelSet& kernels, kernels::Stream& stream, int64_t draws);
  static constexpr int kUsualBest = 20;  // as routers let clients ask for, unless told otherwise

  // The room that Begin takes of the step's inputs; and of the largest step of so many draws.
  static int64_t Room(absl::Span<const RowWish> rows);
  static int64_t Room(int64_t draws);
  void Begin(absl::Span<const RowWish> rows, kernels::Mirror& inputs);

  // The next logits.shape[0] rows, [rows, vocabulary].
  void Run(const kernels::TensorView<const float, 2>& logits);

  void Fetch() { results_.ToHost(stream_); }

  // All that differs between the operations of two steps whose rows all have samplers, but for the
  // values in their inputs and for where those lie.
  struct Shape {
    int64_t rows = 0;
    int64_t best = 0;   // tokens a row; -1: no log-probabilities
    int64_t moves = 0;  // of the results
    friend auto operator<=>(const Shape&, const Shape&) = default;
  };
  // Of the step that has begun; none if it penalises, or has targets, or rows without sampler.
  std::optional<Shape> ShapeOf() const;

  // Of row `row`, which had a sampler.
  TokenChoice Choice(int64_t row) const;
  // Of row `row`, which had a target.
  float TargetLogprob(int64_t row) const { return target_logprob_.host[row]; }

 private:
  template <typename T>
  using Piece = kernels::Mirror::Piece<T>;

  // Rows with samplers, one after another; `draw` is the first one's number among those.
  struct DrawRange {
    int64_t draw = 0;
    kernels::TensorView<const float, 2> logits;
  };
  void Put(int64_t draw, const Sampler& sampler);
  void Draw(const DrawRange& range);
  kernels::TensorView<const float, 2> Penalised(const DrawRange& range, kernels::Scratch& scratch);

  const kernels::KernelSet kernels_;
  kernels::Stream& stream_;

  // Of the step: rows [R], rows with samplers [S], penalised tokens [N], best tokens a row K.
  std::vector<int64_t> draw_of_row_;  // [R + 1] how many samplers the rows before it have
  std::vector<SamplerSpec> specs_;    // [S]
  int64_t best_ = 0;                  // K
  bool any_target_ = false, any_logprobs_ = false;
  int64_t next_row_ = 0;
  int64_t entries_ = 0;  // put so far
  Piece<uint64_t> seed_, counter_;
  Piece<float> temperature_, top_p_, min_p_, repetition_, presence_, frequency_;
  Piece<int32_t> top_k_;
  Piece<int32_t> penalty_begin_, penalty_token_, penalty_count_;
  Piece<int32_t> target_;

  kernels::Mirror penalised_;  // not of the inputs, whose place recordings know
  kernels::Mirror results_;
  Piece<int32_t> token_, best_ids_;
  Piece<float> token_logprob_, best_logprob_, target_logprob_;
};

}  // namespace tandem
