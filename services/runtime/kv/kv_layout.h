// SPDX-License-Identifier: Apache-2.0
// KvLayout: where everything of the shared KV pool lies, in bytes from the pool's base.
//
// The pool is layer-major: for each layer [compressed pages][indexer pages][window
// rings][compressor states] [indexer compressor states], each region contiguous. A page id stands
// for 256 tokens in every layer; a slot belongs to one sequence and holds its 128-row window rings
// and compressor states.
//   compressed page   CSA: 64 rows, 37,440 B; HCA: 2 rows, 1,728 B; split 576/8 row format
//   (specification 4.6) indexer page      CSA: 64 rows × 64 B of FP4, then 64 × 4 UE8M0: 4,352 B
//   window ring       every layer: 128 rows in two 64-row blocks of 37,440 B; row = position mod
//   128 compressor state  fp32 kv_state rows, then score_state rows: CSA 8 × 1024 each, HCA 128 ×
//   512 each indexer state     CSA: fp32, 8 × 256 each (specification 3.6)
// Regions that a layer kind lacks have stride 0. All offsets are 64-bit; every region starts on 256
// bytes.
//
// Value, immutable, thread-safe. Errors: INVALID_ARGUMENT when pages, slots or the total are out of
// range.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "services/runtime/model/config/model_config.h"

namespace tandem {

inline constexpr int kPageTokens = 256;

// `count` pieces of `stride` bytes, the first at `offset`.
struct KvRegion {
  uint64_t offset = 0;
  uint64_t stride = 0;
  int count = 0;
  uint64_t At(int index) const { return offset + static_cast<uint64_t>(index) * stride; }
};

struct KvLayerLayout {
  LayerKind kind = LayerKind::kSwa;
  int rows_per_page = 0;       // compressed (and indexer) rows: 64 CSA, 2 HCA, 0 SWA
  KvRegion compressed_pages;   // by page id
  KvRegion indexer_pages;      // by page id
  KvRegion window_rings;       // by slot
  KvRegion compressor_states;  // by slot; the second half of a piece is score_state
  KvRegion indexer_states;     // by slot; likewise
};

// A run of bytes in the pool.
struct KvExtent {
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

// A place among the bytes of extents that are read one behind the other.
struct KvCursor {
  size_t extent = 0;
  uint64_t offset = 0;  // in it, below its bytes
};

// The next `bytes` bytes from `at` on, or what is left of them, in as few runs as there are:
// extents that touch are one. `at` moves behind them.
std::vector<KvExtent> TakeRuns(absl::Span<const KvExtent> extents, uint64_t bytes, KvCursor& at);

// One sequence's place in the pool: pages[i] holds positions 256·i … 256·i + 255.
struct KvPlacement {
  int slot = 0;
  absl::Span<const int32_t> pages;
};

// Layers [begin, end), of those that there are.
struct KvLayers {
  int begin = 0;
  int end = std::numeric_limits<int>::max();
};

// What of a sequence's rows is meant: after `tokens` tokens, without its first pages; of the pages
// alone, or of window and compressor states as well; of some layers, or of all.
struct KvPart {
  int64_t tokens = 0;
  int first_page = 0;
  bool states = true;
  KvLayers layers = {};
};

class KvLayout {
 public:
  struct Size {
    int pages = 0;
    int slots = 0;
  };
  static absl::StatusOr<KvLayout> Create(const ModelConfig& config, Size size);

  int pages() const { return size_.pages; }
  int slots() const { return size_.slots; }
  int num_layers() const { return static_cast<int>(layers_.size()); }
  const KvLayerLayout& layer(int layer) const { return layers_[layer]; }
  uint64_t bytes() const { return bytes_; }

  // What a page (in all layers) and a slot cost.
  uint64_t page_bytes() const;
  uint64_t slot_bytes() const;

  static int PagesFor(int64_t tokens) {
    return static_cast<int>((tokens + kPageTokens - 1) / kPageTokens);
  }

  // Everything live of a sequence after `tokens` tokens (specification 5, items 1 to 5), layer by
  // layer. Count, order and sizes depend on `tokens` alone: extent k of one pool is copied to
  // extent k of another, whatever the slots and pages. `placement.pages` has at least
  // PagesFor(tokens) entries.
  std::vector<KvExtent> Extents(const KvPlacement& placement, int64_t tokens) const;
  // The same of a part of it.
  std::vector<KvExtent> Extents(const KvPlacement& placement, const KvPart& part) const;

  // All that two pools must share for their extents to mean the same: formats, page geometry, the
  // kind of every layer, RoPE. Pool sizes are not in it, so a small pool can feed a large one.
  std::string Describe() const;
  // FNV-1a of Describe(): stable over builds and machines.
  uint64_t layout_hash() const { return hash_; }

 private:
  KvLayout() = default;

  Size size_;
  std::vector<KvLayerLayout> layers_;
  RopeScaling rope_scaling_;
  double rope_theta_ = 0;
  double compress_rope_theta_ = 0;
  uint64_t bytes_ = 0;
  uint64_t hash_ = 0;
};

// A pool's memory with its layout. All is borrowed; a base is at least 256-byte aligned, and is
// memory of the engine's backend: a GPU's, perhaps.
struct KvView {
  std::byte* base = nullptr;
  const KvLayout* layout = nullptr;
  // Where each rank of an engine has its copy of the pool, `base` first. Empty: there is one.
  absl::Span<std::byte* const> copies = {};

  KvView OfRank(int rank) const { return {.base = copies[rank], .layout = layout}; }
};

}  // namespace tandem
