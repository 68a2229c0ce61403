// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/sampling/draws.h"

#include <algorithm>

#include "services/runtime/base/check.h"

namespace tandem {
namespace {

using kernels::Mirror;
using kernels::TensorView;

template <typename T>
TensorView<T, 1> Vector(T* data, int64_t size) {
  return {data, {size}};
}

struct Counts {
  int64_t rows = 0;
  int64_t draws = 0;
  int64_t entries = 0;  // of penalised tokens
};

Counts CountOf(absl::Span<const RowWish> rows) {
  Counts counts{.rows = static_cast<int64_t>(rows.size())};
  for (const RowWish& row : rows) {
    if (row.sampler == nullptr) continue;
    ++counts.draws;
    counts.entries += static_cast<int64_t>(row.sampler->seen().size());
  }
  return counts;
}

int64_t InputRoom(const Counts& counts) {
  return 2 * Mirror::Room<uint64_t>(counts.draws) + 7 * Mirror::Room<float>(counts.draws) +
         Mirror::Room<int32_t>(counts.draws + 1) + Mirror::Room<int32_t>(counts.rows);
}

int64_t ResultRoom(const Counts& counts, int64_t best) {
  return Mirror::Room<int32_t>(counts.draws) + Mirror::Room<float>(counts.draws) +
         Mirror::Room<int32_t>(counts.draws * best) + Mirror::Room<float>(counts.draws * best) +
         Mirror::Room<float>(counts.rows);
}

}  // namespace

Draws::Draws(const kernels::KernelSet& kernels, kernels::Stream& stream, int64_t draws)
    : kernels_(kernels), stream_(stream), penalised_(kernels.backend), results_(kernels.backend) {
  results_.Reset(ResultRoom({.rows = draws, .draws = draws}, kUsualBest));
}

int64_t Draws::Room(absl::Span<const RowWish> rows) {
  return InputRoom(CountOf(rows));
}

int64_t Draws::Room(int64_t draws) {
  return InputRoom({.rows = draws, .draws = draws});
}

void Draws::Begin(absl::Span<const RowWish> rows, Mirror& inputs) {
  const Counts counts = CountOf(rows);
  const int64_t draws = counts.draws;
  seed_ = inputs.Take<uint64_t>(draws), counter_ = inputs.Take<uint64_t>(draws);
  temperature_ = inputs.Take<float>(draws), top_p_ = inputs.Take<float>(draws);
  min_p_ = inputs.Take<float>(draws), repetition_ = inputs.Take<float>(draws);
  presence_ = inputs.Take<float>(draws), frequency_ = inputs.Take<float>(draws);
  top_k_ = inputs.Take<int32_t>(draws);
  penalty_begin_ = inputs.Take<int32_t>(draws + 1);
  penalised_.Reset(2 * Mirror::Room<int32_t>(counts.entries));
  penalty_token_ = penalised_.Take<int32_t>(counts.entries);
  penalty_count_ = penalised_.Take<int32_t>(counts.entries);
  target_ = inputs.Take<int32_t>(counts.rows);

  draw_of_row_.assign(1, 0);
  specs_.clear();
  best_ = next_row_ = entries_ = 0;
  any_target_ = any_logprobs_ = false;
  penalty_begin_.host[0] = 0;
  for (int64_t r = 0; r < counts.rows; ++r) {
    target_.host[r] = rows[r].target;
    any_target_ = any_target_ || rows[r].target >= 0;
    if (rows[r].sampler != nullptr) Put(draw_of_row_.back(), *rows[r].sampler);
    draw_of_row_.push_back(static_cast<int64_t>(specs_.size()));
  }

  results_.Reset(ResultRoom(counts, best_));
  token_ = results_.Take<int32_t>(draws);
  if (any_logprobs_) {
    token_logprob_ = results_.Take<float>(draws);
    best_ids_ = results_.Take<int32_t>(draws * best_);
    best_logprob_ = results_.Take<float>(draws * best_);
  }
  if (any_target_) target_logprob_ = results_.Take<float>(counts.rows);
}

void Draws::Put(int64_t draw, const Sampler& sampler) {
  const SamplerSpec& spec = specs_.emplace_back(sampler.spec());
  seed_.host[draw] = spec.seed;
  counter_.host[draw] = sampler.drawn();
  temperature_.host[draw] = spec.temperature;
  top_p_.host[draw] = spec.top_p;
  min_p_.host[draw] = spec.min_p;
  top_k_.host[draw] = spec.top_k;
  repetition_.host[draw] = spec.repetition_penalty;
  presence_.host[draw] = spec.presence_penalty;
  frequency_.host[draw] = spec.frequency_penalty;
  for (const auto& [id, count] : sampler.seen()) {
    penalty_token_.host[entries_] = id;
    penalty_count_.host[entries_++] = count;
  }
  penalty_begin_.host[draw + 1] = static_cast<int32_t>(entries_);
  any_logprobs_ = any_logprobs_ || spec.logprobs.has_value();
  best_ = std::max<int64_t>(best_, spec.logprobs.value_or(0));
}

void Draws::Run(const TensorView<const float, 2>& logits) {
  const int64_t rows = logits.shape[0], vocabulary = logits.shape[1], first = next_row_;
  next_row_ += rows;
  CHECK_LT(next_row_, static_cast<int64_t>(draw_of_row_.size()));
  if (first == 0) penalised_.ToDevice(stream_);
  if (any_target_) {
    kernels_.table.top_logprobs({.logits = logits,
                                 .token = Vector<const int32_t>(target_.device + first, rows),
                                 .chosen = Vector(target_logprob_.device + first, rows),
                                 .ids = {nullptr, {rows, 0}},
                                 .values = {nullptr, {rows, 0}}},
                                stream_);
  }
  const auto draws = [&](int64_t row) { return draw_of_row_[row + 1] > draw_of_row_[row]; };
  for (int64_t row = first; row < next_row_;) {
    int64_t end = row;
    while (end < next_row_ && draws(end)) ++end;
    if (end > row) {
      Draw({.draw = draw_of_row_[row],
            .logits = {logits.row(row - first), {end - row, vocabulary}}});
    }
    row = end + 1;
  }
}

void Draws::Draw(const DrawRange& range) {
  const int64_t rows = range.logits.shape[0], at = range.draw;
  kernels::Scratch scratch(stream_);
  const TensorView<float, 1> u = Vector(scratch.Take<float>(rows), rows);
  kernels_.table.uniform({.seed = Vector<const uint64_t>(seed_.device + at, rows),
                          .counter = Vector<const uint64_t>(counter_.device + at, rows),
                          .u = u},
                         stream_);
  const TensorView<int32_t, 1> token = Vector(token_.device + at, rows);
  kernels_.table.sample({.logits = Penalised(range, scratch),
                         .temperature = Vector<const float>(temperature_.device + at, rows),
                         .top_k = Vector<const int32_t>(top_k_.device + at, rows),
                         .top_p = Vector<const float>(top_p_.device + at, rows),
                         .min_p = Vector<const float>(min_p_.device + at, rows),
                         .u = u,
                         .token = token},
                        stream_);
  if (!any_logprobs_) return;
  kernels_.table.top_logprobs({.logits = range.logits,
                               .token = token,
                               .chosen = Vector(token_logprob_.device + at, rows),
                               .ids = {best_ids_.device + at * best_, {rows, best_}},
                               .values = {best_logprob_.device + at * best_, {rows, best_}}},
                              stream_);
}

// The logits themselves where nothing is penalised: log-probabilities are of the model's own.
TensorView<const float, 2> Draws::Penalised(const DrawRange& range, kernels::Scratch& scratch) {
  const int64_t rows = range.logits.shape[0], at = range.draw;
  if (penalty_begin_.host[at] == penalty_begin_.host[at + rows]) return range.logits;
  const TensorView<float, 2> out{scratch.Take<float>(range.logits.size()),
                                 {rows, range.logits.shape[1]}};
  kernels_.backend.Copy({.to = out.data,
                         .from = range.logits.data,
                         .bytes = out.size() * static_cast<int64_t>(sizeof(float))},
                        stream_);
  kernels_.table.penalties({.logits = out,
                            .begin = Vector<const int32_t>(penalty_begin_.device + at, rows + 1),
                            .token = Vector<const int32_t>(penalty_token_.device, entries_),
                            .count = Vector<const int32_t>(penalty_count_.device, entries_),
                            .repetition = Vector<const float>(repetition_.device + at, rows),
                            .presence = Vector<const float>(presence_.device + at, rows),
                            .frequency = Vector<const float>(frequency_.device + at, rows)},
                           stream_);
  return out;
}

std::optional<Draws::Shape> Draws::ShapeOf() const {
  const int64_t rows = static_cast<int64_t>(draw_of_row_.size()) - 1;
  if (any_target_ || entries_ > 0 || draw_of_row_.back() != rows) return std::nullopt;
  return Shape{.rows = rows, .best = any_logprobs_ ? best_ : -1, .moves = results_.moves()};
}

TokenChoice Draws::Choice(int64_t row) const {
  const int64_t draw = draw_of_row_[row];
  TokenChoice choice{.id = token_.host[draw]};
  const std::optional<int>& wanted = specs_[draw].logprobs;
  if (!wanted.has_value()) return choice;
  choice.logprob = token_logprob_.host[draw];
  for (int64_t i = draw * best_; i < draw * best_ + *wanted; ++i) {
    choice.top.push_back({.id = best_ids_.host[i], .logprob = best_logprob_.host[i]});
  }
  return choice;
}

}  // namespace tandem
