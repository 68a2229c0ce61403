// SPDX-License-Identifier: Apache-2.0
// SimRows: what the simulated engine keeps of one sequence, in the KV rows that a model would use.
//
// Position p lives in the compressed layer number p mod L (of the L layers of ratio 4 or 128), as
// its id, 4 bytes: in the compressed row of p's window, and in the window ring's row p mod 128.
// Rows that the prompt fills are read from the pages, the rest from the ring, as attention does.
// Row 0 of layer 0's ring holds a header behind the id: the prompt's length and fingerprint, and
// where the answer stands. All of it is among the extents that travel (KvLayout::Extents), so a
// wrong page, slot, extent or copy shows. Compressor states and indexer rows are not used.
//
// A view: borrows the pool's memory, the pages and the layers. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "services/runtime/kv/kv_layout.h"
#include "services/runtime/model/config/model_config.h"

namespace tandem {

class SimRows {
 public:
  // The layers of ratio 4 or 128.
  static std::vector<int> Layers(const ModelConfig& config);

  struct Parts {
    const KvView& kv;
    const KvPlacement& place;
    absl::Span<const int> layers;  // at least one
  };
  explicit SimRows(const Parts& parts)
      : kv_(parts.kv), place_(parts.place), layers_(parts.layers) {}

  // The prompt's next ids, from position `start` on; 0 begins a prompt.
  void Append(int64_t start, absl::Span<const int32_t> ids);

  // Whether the rows hold a prompt and `position` is at its end or in its answer. At its end all of
  // it is read and compared with the fingerprint; rows that differ hold nothing from then on.
  bool Holds(int64_t position);

  // The prompt's next id that is none of `silent`, over and over from its first; `none` if there is
  // no other. Only when they hold one.
  int32_t Next(absl::Span<const int32_t> silent, int32_t none);

 private:
  struct Header;
  Header Load() const;
  void Store(const Header& header);
  const KvLayerLayout& LayerOf(int64_t position) const;
  std::byte* InRing(const KvLayerLayout& layer, int64_t position) const;
  std::byte* InPage(const KvLayerLayout& layer, int64_t position) const;
  int32_t Read(int64_t position, int64_t prompt_tokens) const;

  const KvView kv_;
  const KvPlacement place_;
  const absl::Span<const int> layers_;
};

}  // namespace tandem
