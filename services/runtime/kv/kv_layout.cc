// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/kv/kv_layout.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "kernels/attention/compressor.h"
#include "kernels/common/paged_rows.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/fnv1a.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

// Compressed row indices (page · 64 + row) are int32.
constexpr int kMaxPages = 1 << 24;
constexpr int kMaxSlots = 1 << 16;
constexpr uint64_t kMaxBytes = uint64_t{1} << 48;
constexpr uint64_t kAlignment = 256;

// A page of rows whose values and scales stand in two regions.
struct PageFormat {
  uint64_t rows;
  uint64_t value_bytes;  // of one row
  uint64_t scale_bytes;  // of one row
  uint64_t page_bytes;   // padding included
  constexpr uint64_t scales_at() const { return rows * value_bytes; }
  constexpr uint64_t used_bytes() const { return rows * (value_bytes + scale_bytes); }
};

constexpr PageFormat KvPage(int rows) {
  return {.rows = static_cast<uint64_t>(rows),
          .value_bytes = kernels::kKvRowDataBytes,
          .scale_bytes = kernels::kKvRowScaleBytes,
          .page_bytes = static_cast<uint64_t>(kernels::KvPageBytes(rows))};
}
constexpr PageFormat kWindowBlock = KvPage(kernels::kBlockRows);
constexpr PageFormat kCsaPage = KvPage(kPageTokens / 4);
constexpr PageFormat kHcaPage = KvPage(kPageTokens / 128);
constexpr PageFormat kIndexerPage = {.rows = kPageTokens / 4,
                                     .value_bytes = kernels::kIndexRowBytes,
                                     .scale_bytes = kernels::kIndexRowScales,
                                     .page_bytes = kernels::kIndexPageBytes};
static_assert(kPageTokens == kernels::kPageTokens && kSlidingWindow == kernels::kWindow);
static_assert(kHeadDim == kernels::kHeadDim && kIndexHeadDim == kernels::kIndexDim);

// One compressor's state: kv_state [rows][width], then score_state [rows][width], fp32.
struct StateFormat {
  uint64_t rows;
  uint64_t width;
  constexpr uint64_t row_bytes() const { return width * sizeof(float); }
  constexpr uint64_t bytes() const { return 2 * rows * row_bytes(); }
};
constexpr StateFormat kCsaState = {.rows = 8, .width = 2 * kHeadDim};
constexpr StateFormat kHcaState = {.rows = 128, .width = kHeadDim};
constexpr StateFormat kIndexerState = {.rows = 8, .width = 2 * kIndexHeadDim};
static_assert(kCsaState.bytes() == sizeof(float) * kernels::CompressorStateSize(4, kHeadDim));
static_assert(kHcaState.bytes() == sizeof(float) * kernels::CompressorStateSize(128, kHeadDim));

// The first `rows` rows of the page at `base`: one extent when full, else values and scales apart.
void AppendRows(const PageFormat& page, uint64_t base, uint64_t rows, std::vector<KvExtent>& out) {
  if (rows == 0) return;
  if (rows == page.rows) {
    out.push_back({.offset = base, .bytes = page.used_bytes()});
    return;
  }
  out.push_back({.offset = base, .bytes = rows * page.value_bytes});
  out.push_back({.offset = base + page.scales_at(), .bytes = rows * page.scale_bytes});
}

void AppendPages(const PageFormat& page, const KvRegion& region, absl::Span<const int32_t> pages,
                 const KvPart& part, std::vector<KvExtent>& out) {
  uint64_t rows = static_cast<uint64_t>(part.tokens) / (kPageTokens / page.rows);
  for (size_t i = 0; rows > 0; ++i) {
    const uint64_t here = std::min(rows, page.rows);
    if (std::cmp_greater_equal(i, part.first_page)) {
      AppendRows(page, region.At(pages[i]), here, out);
    }
    rows -= here;
  }
}

// The overlap state of ratio 4: of the previous window its first half of the dims, of the current
// one the tokens that have come so far.
void AppendOverlapState(const StateFormat& state, uint64_t base, int64_t tokens,
                        std::vector<KvExtent>& out) {
  const uint64_t partial = static_cast<uint64_t>(tokens % 4);
  for (const uint64_t half : {base, base + state.bytes() / 2}) {
    for (uint64_t row = 0; row < 4; ++row) {
      out.push_back({.offset = half + row * state.row_bytes(), .bytes = state.row_bytes() / 2});
    }
    if (partial == 0) continue;
    out.push_back({.offset = half + 4 * state.row_bytes(), .bytes = partial * state.row_bytes()});
  }
}

void AppendPartialState(const StateFormat& state, uint64_t base, int64_t tokens,
                        std::vector<KvExtent>& out) {
  const uint64_t partial = static_cast<uint64_t>(tokens) % state.rows;
  if (partial == 0) return;
  for (const uint64_t half : {base, base + state.bytes() / 2}) {
    out.push_back({.offset = half, .bytes = partial * state.row_bytes()});
  }
}

// The ring's rows are positions 0 … n-1 until it is full, and then all of it.
void AppendWindow(const KvLayerLayout& layer, int slot, int64_t tokens,
                  std::vector<KvExtent>& out) {
  const uint64_t rows = static_cast<uint64_t>(std::min<int64_t>(tokens, kSlidingWindow));
  const uint64_t ring = layer.window_rings.At(slot);
  AppendRows(kWindowBlock, ring, std::min(rows, kWindowBlock.rows), out);
  AppendRows(kWindowBlock, ring + kWindowBlock.page_bytes, rows - std::min(rows, kWindowBlock.rows),
             out);
}

void AppendStates(const KvLayerLayout& layer, int slot, int64_t tokens,
                  std::vector<KvExtent>& out) {
  if (layer.kind == LayerKind::kCsa) {
    AppendOverlapState(kCsaState, layer.compressor_states.At(slot), tokens, out);
    AppendOverlapState(kIndexerState, layer.indexer_states.At(slot), tokens, out);
  } else if (layer.kind == LayerKind::kHca) {
    AppendPartialState(kHcaState, layer.compressor_states.At(slot), tokens, out);
  }
}

KvRegion Place(uint64_t& end, uint64_t stride, int count) {
  const uint64_t offset = (end + kAlignment - 1) / kAlignment * kAlignment;
  end = offset + stride * static_cast<uint64_t>(count);
  return {.offset = offset, .stride = stride, .count = count};
}

KvLayerLayout PlaceLayer(LayerKind kind, KvLayout::Size size, uint64_t& end) {
  const bool csa = kind == LayerKind::kCsa;
  const bool swa = kind == LayerKind::kSwa;
  KvLayerLayout layer{.kind = kind};
  layer.rows_per_page = static_cast<int>(swa ? 0 : csa ? kCsaPage.rows : kHcaPage.rows);
  layer.compressed_pages =
      Place(end, swa ? 0 : (csa ? kCsaPage : kHcaPage).page_bytes, swa ? 0 : size.pages);
  layer.indexer_pages = Place(end, csa ? kIndexerPage.used_bytes() : 0, csa ? size.pages : 0);
  layer.window_rings = Place(end, 2 * kWindowBlock.page_bytes, size.slots);
  layer.compressor_states =
      Place(end, swa ? 0 : (csa ? kCsaState : kHcaState).bytes(), swa ? 0 : size.slots);
  layer.indexer_states = Place(end, csa ? kIndexerState.bytes() : 0, csa ? size.slots : 0);
  return layer;
}

absl::Status CheckRange(absl::string_view field, int value, int max) {
  if (value >= 1 && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("kv pool: ", field, " must be from 1 to ", max, ", got ", value));
}

}  // namespace

std::vector<KvExtent> TakeRuns(absl::Span<const KvExtent> extents, uint64_t bytes, KvCursor& at) {
  std::vector<KvExtent> out;
  while (bytes > 0 && at.extent < extents.size()) {
    const KvExtent& extent = extents[at.extent];
    const KvExtent part{.offset = extent.offset + at.offset,
                        .bytes = std::min(bytes, extent.bytes - at.offset)};
    if (!out.empty() && out.back().offset + out.back().bytes == part.offset) {
      out.back().bytes += part.bytes;
    } else {
      out.push_back(part);
    }
    bytes -= part.bytes;
    at.offset += part.bytes;
    if (at.offset == extent.bytes) at = {.extent = at.extent + 1};
  }
  return out;
}

absl::StatusOr<KvLayout> KvLayout::Create(const ModelConfig& config, Size size) {
  RETURN_IF_ERROR(CheckRange("pages", size.pages, kMaxPages));
  RETURN_IF_ERROR(CheckRange("slots", size.slots, kMaxSlots));
  KvLayout out;
  out.size_ = size;
  out.rope_scaling_ = config.rope_scaling;
  out.rope_theta_ = config.rope_theta;
  out.compress_rope_theta_ = config.compress_rope_theta;
  uint64_t end = 0;
  for (int i = 0; i < config.num_hidden_layers; ++i) {
    out.layers_.push_back(PlaceLayer(config.layer_kind(i), size, end));
    if (end > kMaxBytes) {
      return absl::InvalidArgumentError(absl::StrCat("kv pool: ", size.pages, " pages and ",
                                                     size.slots, " slots need more than ",
                                                     kMaxBytes, " bytes"));
    }
  }
  out.bytes_ = (end + kAlignment - 1) / kAlignment * kAlignment;
  out.hash_ = Fnv1a(out.Describe());
  return out;
}

uint64_t KvLayout::page_bytes() const {
  uint64_t bytes = 0;
  for (const KvLayerLayout& layer : layers_) {
    bytes += layer.compressed_pages.stride + layer.indexer_pages.stride;
  }
  return bytes;
}

uint64_t KvLayout::slot_bytes() const {
  uint64_t bytes = 0;
  for (const KvLayerLayout& layer : layers_) {
    bytes +=
        layer.window_rings.stride + layer.compressor_states.stride + layer.indexer_states.stride;
  }
  return bytes;
}

std::vector<KvExtent> KvLayout::Extents(const KvPlacement& placement, int64_t tokens) const {
  return Extents(placement, KvPart{.tokens = tokens});
}

std::vector<KvExtent> KvLayout::Extents(const KvPlacement& placement, const KvPart& part) const {
  CHECK(placement.slot >= 0 && placement.slot < size_.slots);
  CHECK(static_cast<int>(placement.pages.size()) >= PagesFor(part.tokens));
  CHECK_GE(part.layers.begin, 0);
  std::vector<KvExtent> out;
  for (int i = part.layers.begin; i < std::min(part.layers.end, num_layers()); ++i) {
    const KvLayerLayout& layer = layers_[i];
    if (part.states) AppendWindow(layer, placement.slot, part.tokens, out);
    if (layer.kind == LayerKind::kSwa) continue;
    const bool csa = layer.kind == LayerKind::kCsa;
    AppendPages(csa ? kCsaPage : kHcaPage, layer.compressed_pages, placement.pages, part, out);
    if (csa) AppendPages(kIndexerPage, layer.indexer_pages, placement.pages, part, out);
    if (part.states) AppendStates(layer, placement.slot, part.tokens, out);
  }
  return out;
}

std::string KvLayout::Describe() const {
  std::string out = absl::StrFormat(
      "v1 page_tokens=%d row=e4m3x448/64:ue8m0+bf16x64,576+8 "
      "indexer=e2m1x128/32:ue8m0,hadamard,64+4 "
      "ring=2x%d state=f32 rope=%.17g,%.17g,yarn:%.17g:%.17g:%.17g:%d layers=",
      kPageTokens, kWindowBlock.page_bytes, rope_theta_, compress_rope_theta_, rope_scaling_.factor,
      rope_scaling_.beta_fast, rope_scaling_.beta_slow,
      rope_scaling_.original_max_position_embeddings);
  for (const KvLayerLayout& layer : layers_) {
    out += layer.kind == LayerKind::kSwa ? 'S' : layer.kind == LayerKind::kCsa ? 'C' : 'H';
  }
  return out;
}

}  // namespace tandem
