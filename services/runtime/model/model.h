// SPDX-License-Identifier: Apache-2.0
// Model: the DeepSeek-V4 forward pass over a shared paged KV pool, on one kernel table.
//
// One Forward is one engine step: chunks of different sequences, decode chunks of one token and
// prefill chunks of many alike. The result of a token never depends on the chunking, on its
// neighbours in the step, or on where its pages and slot lie: bit for bit. Working memory is taken
// in Create; a step takes none of tensor size.
//
// Borrows the weights and the kernel table; both outlive it. Not thread-safe.
// Contract breaches (unknown token id, page or slot out of range, too many tokens) are bugs and
// stop the process: callers check what clients send against config(), limits() and the layout.
// Source: specification 3 (forward pass); names as there.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/kernel_table.h"
#include "services/runtime/kv/kv_layout.h"
#include "services/runtime/model/model_config.h"
#include "services/runtime/model/step.h"
#include "services/runtime/model/weights.h"

namespace tandem {

// The next-token logits after token `token` of chunk `chunk` (both indices of the step's span).
struct LogitsRow {
  int chunk = 0;
  int token = 0;
  absl::Span<const float> logits;  // [vocab_size], valid during the call only
};
using LogitsSink = absl::FunctionRef<void(const LogitsRow&)>;

class Model {
 public:
  // INVALID_ARGUMENT when a limit is out of range.
  static absl::StatusOr<std::unique_ptr<Model>> Create(const ModelConfig& config,
                                                       const Weights& weights,
                                                       const kernels::KernelTable& kernels,
                                                       const StepLimits& limits);

  // Runs the step: reads and writes the chunks' pages and slots in `kv`, and calls `sink` once for
  // every requested row, in the order of chunks and tokens.
  void Forward(absl::Span<const SequenceChunk> chunks, const KvView& kv, LogitsSink sink);

  // One layer alone, from given streams (bf16 bits, [T, 4, D] over the chunks in order), in place.
  // For comparing layers with a reference; caches are read and written as by Forward.
  void RunLayer(int layer, absl::Span<const SequenceChunk> chunks, const KvView& kv,
                absl::Span<uint16_t> streams);

  const ModelConfig& config() const { return config_; }
  const StepLimits& limits() const { return limits_; }

 private:
  Model(const ModelConfig& config, const Weights& weights, const kernels::KernelTable& kernels,
        const StepLimits& limits);
  Step Begin(absl::Span<const SequenceChunk> chunks, const KvView& kv);
  void Head(absl::Span<const SequenceChunk> chunks, const Streams& streams, LogitsSink sink);
  void HeadBlock(absl::Span<LogitsRow> rows, const Streams& gathered, LogitsSink sink);

  const ModelConfig config_;
  const Weights& weights_;
  const kernels::KernelTable& kernels_;
  const StepLimits limits_;
  const RopeBases frequencies_;
  kernels::Stream stream_;
  Workspace work_;
  // The head runs over blocks of rows, so that prompt log-probabilities of a long chunk need no
  // more memory.
  Buffer<kernels::Bf16> head_streams_;  // [rows, 4, D]
  Buffer<kernels::Bf16> head_x_;        // [rows, D]
  Buffer<float> logits_;                // [rows, V]
};

}  // namespace tandem
