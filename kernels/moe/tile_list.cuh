// SPDX-License-Identifier: Apache-2.0
// The work of moe_experts for tens of tokens: tiles of up to eight rows of one expert
// (moe_tiles.h), the shared expert's first, times parts of their weights.
// Internal to kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/moe/moe_tiles.h"
#include "kernels/moe/row_input.cuh"
#include "kernels/moe/small_arguments.cuh"

namespace tandem::kernels::cuda {

struct ListedArguments : ExpertProducts {
  MoeRows rows;
  int32_t tokens = 0, shared_tiles = 0;
  HalfRows codes, shared_codes;                // of h
  Bf16 *out = nullptr, *shared_out = nullptr;  // [pairs, D], [T, D]
};

// Tile `number` of all of them. Past L1: see DownKernel (small_down.cuh).
__device__ __forceinline__ MoeTile ListedTile(const ListedArguments& args, int number) {
  if (number >= args.shared_tiles) {
    const MoeTile* at = args.rows.tiles + number - args.shared_tiles;
    return {__ldcg(&at->expert), __ldcg(&at->begin), __ldcg(&at->rows)};
  }
  const int begin = number * kListedRows;
  return {0, begin, min(kListedRows, args.tokens - begin)};
}

// An item is a part of a tile's weights: number `part` of `parts`, or of the shared expert's
// `shared_parts`. A routed tile's follow each other; of the shared expert those of all tiles that
// want the same weights, which so come from device memory once.
struct Items {
  int shared_tiles, shared_parts, parts;

  struct Item {
    int tile, part;
    bool shared;
  };
  __device__ __forceinline__ Item operator()(int i) const {
    const int of_shared = shared_tiles * shared_parts;
    if (i < of_shared) return {i % shared_tiles, i / shared_tiles, true};
    return {shared_tiles + (i - of_shared) / parts, (i - of_shared) % parts, false};
  }
};

// The items that one of n takes, by order: its share of the first three quarters, then of the last
// ones whichever is free, since not all multiprocessors get on alike. An item of the shared expert
// weighs twice, being of FP8.
struct Share {
  int first, own;   // items
  int rest, count;  // the first that is for all, how many items there are

  // Item number k, if it is one's own.
  __device__ __forceinline__ bool Owns(int k) const { return k < own; }
};
__device__ __forceinline__ Share ShareOf(const Items& items, int tiles, int i, int n) {
  const int shared = items.shared_tiles * items.shared_parts;
  const int64_t all = 2 * shared + tiles * items.parts;
  const auto item = [=](int64_t weight) {
    return static_cast<int>(weight < 2 * shared ? (weight + 1) / 2 : weight - shared);
  };
  const int64_t dealt = all * 3 / 4;
  const int first = item(dealt * i / n);
  return {first, item(dealt * (i + 1) / n) - first, item(dealt), item(all)};
}

// Asks for the parts of one's items, the next one's at most (weight_ring.cuh). number(k): item
// number k of one's own; part_of(item, expert): what is read of it.
class NextParts {
 public:
  __device__ __forceinline__ NextParts(const ListedArguments& args, const Items& items, int count)
      : args_(args), items_(items), count_(count) {}
  // While item number `now` is under way.
  template <typename Number, typename PartOf>
  __device__ __forceinline__ Part operator()(int now, const Number& number, const PartOf& part_of) {
    if (asked_ > now + 1) return {.slots = kNotYet};
    const int i = number(asked_);
    if (i >= count_) return {.slots = kNoMore};
    ++asked_;
    const Items::Item item = items_(i);
    if (item.tile != tile_) {
      tile_ = item.tile;
      expert_ = ListedTile(args_, item.tile).expert;
    }
    return part_of(item, expert_);
  }

 private:
  const ListedArguments& args_;
  const Items& items_;
  int count_;
  int asked_ = 0, tile_ = -1, expert_ = 0;
};

// The input of a tile's products: its rows of x, or, where rows are named by nobody, themselves.
__device__ __forceinline__ Columns ListedColumns(const MoeTile& tile, const int32_t* token) {
  const int row = tile.begin + min(static_cast<int>(threadIdx.x) % 8, tile.rows - 1);
  return {tile.rows, token != nullptr ? token[row] : row};
}

}  // namespace tandem::kernels::cuda
