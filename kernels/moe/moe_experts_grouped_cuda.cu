// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/moe/grouped_product.cuh"
#include "kernels/quant/act_quant.h"

namespace tandem::kernels::cuda {
namespace {

// A pass takes so many tokens at most: its w2 results alone are 2·D bytes a pair.
constexpr int64_t kPassTokens = 4096;

Matrix One(const LinearWeight& weight) {
  KERNEL_CHECK(weight.format == kShared);
  KERNEL_CHECK(weight.prepared != nullptr);
  return {.prepared = weight.prepared, .n = weight.n, .k = weight.k};
}

// The same weight of every expert.
Matrix Every(TensorView<const ExpertWeights, 1> experts, LinearWeight ExpertWeights::*which) {
  const LinearWeight& first = experts[0].*which;
  KERNEL_CHECK(first.format == kRouted);
  KERNEL_CHECK(first.prepared != nullptr);
  Matrix matrix = {.prepared = first.prepared, .n = first.n, .k = first.k};
  if (experts.shape[0] > 1) matrix.stride = (experts[1].*which).prepared - first.prepared;
  for (int64_t e = 1; e < experts.shape[0]; ++e) {
    const LinearWeight& weight = experts[e].*which;
    KERNEL_CHECK(weight.prepared == first.prepared + e * matrix.stride);
    KERNEL_CHECK(weight.n == first.n && weight.k == first.k && weight.format == kRouted);
  }
  return matrix;
}

QuantisedRows TakeRows(TileMath math, int64_t rows, int64_t k, Scratch& scratch) {
  if (math == TileMath::kBf16) return {.x = scratch.Take<uint8_t>(2 * rows * k)};
  return {.x = scratch.Take<uint8_t>(rows * k),
          .scale = scratch.Take<uint8_t>(rows * (k / kActGroup))};
}
TokenMatrix ViewOf(const QuantisedRows& rows, int64_t k) {
  return {.x = rows.x,
          .scale = rows.scale,
          .row_bytes = rows.scale == nullptr ? 2 * k : k,
          .scale_bytes = k / kActGroup};
}

void Run(const MoeExpertsArgs& args, TileMath math, int tile_tokens, Stream& stream) {
  Scratch scratch(stream);
  const int64_t tokens = args.x.shape[0], dim = args.x.shape[1], pairs = args.experts.size();
  const int64_t experts = args.routed.shape[0], tiles = MostTiles(pairs, experts, tile_tokens);
  GroupedProduct gate = {
      .routed = {Every(args.routed, &ExpertWeights::w1), Every(args.routed, &ExpertWeights::w3)},
      .shared = {One(args.shared.w1), One(args.shared.w3)}};
  GroupedProduct down = {.routed = {Every(args.routed, &ExpertWeights::w2)},
                         .shared = {One(args.shared.w2)}};
  const int64_t inner = gate.routed[0].n, shared_inner = gate.shared[0].n;
  KERNEL_CHECK_MULTIPLE(inner, kActGroup);
  gate.rows = TakeMoeRows(pairs, tiles, scratch);
  const QuantisedRows x = TakeRows(math, tokens, dim, scratch);
  gate.x = gate.shared_x = ViewOf(x, dim);
  gate.gates = TakeRows(math, pairs, inner, scratch);
  gate.shared_gates = TakeRows(math, tokens, shared_inner, scratch);
  gate.tokens = static_cast<int>(tokens);
  gate.shared_tiles = static_cast<int>(Blocks(tokens, tile_tokens));
  gate.most_tiles = static_cast<int>(tiles);
  gate.limit = args.limit;
  down.rows = gate.rows;
  down.x = ViewOf(gate.gates, inner);
  down.shared_x = ViewOf(gate.shared_gates, shared_inner);
  down.out = scratch.Take<Bf16>(pairs * dim);
  down.shared_out = scratch.Take<Bf16>(tokens * dim);
  down.tokens = gate.tokens;
  down.shared_tiles = gate.shared_tiles;
  down.most_tiles = gate.most_tiles;

  const bool mx = math == TileMath::kMx;
  MoePrepare(args, tile_tokens, gate.rows, x, stream);
  (mx ? LaunchGates<TileMath::kMx> : LaunchGates<TileMath::kBf16>)(tile_tokens, gate, stream);
  (mx ? LaunchDown<TileMath::kMx> : LaunchDown<TileMath::kBf16>)(tile_tokens, down, stream);
  MoeCombine(args, gate.rows.row_of, down.out, down.shared_out, stream);
}

}  // namespace

void MoeExpertsGrouped(const MoeExpertsArgs& args, TileMath math, Stream& stream) {
  CheckMoeExperts(args);
  KERNEL_CHECK_LE(args.experts.shape[1], kMostSlots);
  KERNEL_CHECK_LE(args.routed.shape[0], kMostExperts);
  KERNEL_CHECK_MULTIPLE(args.x.shape[1], kActGroup);
  for (int64_t first = 0; first < args.x.shape[0]; first += kPassTokens) {
    const int64_t tokens = std::min(kPassTokens, args.x.shape[0] - first);
    MoeExpertsArgs pass = args;
    pass.x = {args.x.row(first), {tokens, args.x.shape[1]}};
    pass.experts = {args.experts.row(first), {tokens, args.experts.shape[1]}};
    pass.weight = {args.weight.row(first), {tokens, args.weight.shape[1]}};
    pass.y = {args.y.row(first), {tokens, args.y.shape[1]}};
    // Small tiles stream weights with two blocks a processor; they serve until the mean expert has
    // so many rows that most tiles would be full.
    const bool few = pass.experts.size() <= args.routed.shape[0] * kFewTokens * 3 / 4;
    Run(pass, math, few ? kFewTokens : kManyTokens, stream);
  }
}

}  // namespace tandem::kernels::cuda
