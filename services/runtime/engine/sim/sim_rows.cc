// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/engine/sim/sim_rows.h"

#include <algorithm>
#include <cstring>

#include "kernels/common/paged_rows.h"
#include "services/runtime/base/fnv1a.h"

namespace tandem {
namespace {

constexpr uint32_t kMagic = 0x4d495354;  // "TSIM"
constexpr size_t kIdBytes = sizeof(int32_t);
// The most positions that one row stands for must fit into its values.
static_assert(kPageTokens / 2 * kIdBytes <= kernels::kKvRowDataBytes);

// The fingerprint of a prompt, an id at a time.
uint64_t Chain(uint64_t hash, int32_t id) {
  return Fnv1aNext(hash, static_cast<uint32_t>(id));
}

}  // namespace

// As bytes in the pool; both workers are this code on the same kind of machine.
struct SimRows::Header {
  uint32_t magic = 0;
  uint32_t tokens = 0;  // of the prompt, so far
  uint64_t hash = kFnv1aBasis;
  uint64_t cursor = 0;  // position of the id that the answer repeats next
};

std::vector<int> SimRows::Layers(const ModelConfig& config) {
  std::vector<int> layers;
  for (int i = 0; i < config.num_hidden_layers; ++i) {
    if (config.layer_kind(i) != LayerKind::kSwa) layers.push_back(i);
  }
  return layers;
}

const KvLayerLayout& SimRows::LayerOf(int64_t position) const {
  return kv_.layout->layer(layers_[static_cast<size_t>(position) % layers_.size()]);
}

std::byte* SimRows::InRing(const KvLayerLayout& layer, int64_t position) const {
  const auto row = static_cast<uint64_t>(position % kSlidingWindow);
  const uint64_t block = layer.window_rings.stride * kernels::kBlockRows / kSlidingWindow;
  return kv_.base + layer.window_rings.At(place_.slot) + row / kernels::kBlockRows * block +
         row % kernels::kBlockRows * kernels::kKvRowDataBytes;
}

std::byte* SimRows::InPage(const KvLayerLayout& layer, int64_t position) const {
  const int64_t ratio = kPageTokens / layer.rows_per_page;
  const int64_t row = position % kPageTokens / ratio;
  return kv_.base + layer.compressed_pages.At(place_.pages[position / kPageTokens]) +
         row * kernels::kKvRowDataBytes + position % ratio * kIdBytes;
}

SimRows::Header SimRows::Load() const {
  Header header;
  std::memcpy(&header, InRing(kv_.layout->layer(0), 0) + kIdBytes, sizeof header);
  return header;
}

void SimRows::Store(const Header& header) {
  std::memcpy(InRing(kv_.layout->layer(0), 0) + kIdBytes, &header, sizeof header);
}

void SimRows::Append(int64_t start, absl::Span<const int32_t> ids) {
  Header header = start == 0 ? Header{.magic = kMagic} : Load();
  if (header.tokens != start) header.magic = 0;  // Somebody else wrote here in between.
  for (const int32_t id : ids) {
    const KvLayerLayout& layer = LayerOf(header.tokens);
    std::memcpy(InRing(layer, header.tokens), &id, kIdBytes);
    std::memcpy(InPage(layer, header.tokens), &id, kIdBytes);
    header.hash = Chain(header.hash, id);
    ++header.tokens;
  }
  Store(header);
}

int32_t SimRows::Read(int64_t position, int64_t prompt_tokens) const {
  const KvLayerLayout& layer = LayerOf(position);
  const int64_t ratio = kPageTokens / layer.rows_per_page;
  const bool complete = (position / ratio + 1) * ratio <= prompt_tokens;
  int32_t id = 0;
  std::memcpy(&id, complete ? InPage(layer, position) : InRing(layer, position), kIdBytes);
  return id;
}

bool SimRows::Holds(int64_t position) {
  Header header = Load();
  const int64_t room = static_cast<int64_t>(place_.pages.size()) * kPageTokens;
  const int64_t tokens = header.tokens;
  if (header.magic != kMagic || tokens < 1 || tokens > std::min(position, room) ||
      header.cursor >= header.tokens) {
    return false;
  }
  if (position > tokens) return true;
  uint64_t hash = kFnv1aBasis;
  for (int64_t i = 0; i < tokens; ++i) hash = Chain(hash, Read(i, tokens));
  if (hash == header.hash) return true;
  header.magic = 0;
  Store(header);
  return false;
}

int32_t SimRows::Next(absl::Span<const int32_t> silent, int32_t none) {
  Header header = Load();
  int32_t next = none;
  for (uint32_t i = 0; i < header.tokens && next == none; ++i) {
    const int32_t id = Read(static_cast<int64_t>(header.cursor), header.tokens);
    header.cursor = (header.cursor + 1) % header.tokens;
    if (std::find(silent.begin(), silent.end(), id) == silent.end()) next = id;
  }
  Store(header);
  return next;
}

}  // namespace tandem
