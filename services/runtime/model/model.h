// SPDX-License-Identifier: Apache-2.0
// Model: the DeepSeek-V4 forward pass over a shared paged KV pool, on one kernel table.
//
// One Forward is one engine step: chunks of different sequences, decode chunks of one token and
// prefill chunks of many alike. The result of a token never depends on the chunking, on its
// neighbours in the step, or on where its pages and slot lie: bit for bit. All working memory is
// taken in Create; a step allocates nothing of tensor size.
//
// Borrows the weights and the kernel table; both outlive it. Single-threaded, not thread-safe.
// Contract breaches (unknown token id, page or slot out of range, too many tokens) are bugs and
// stop the process: callers check what clients send against config(), max_tokens_per_step and the
// layout. Source: specification 3 (forward pass); names as there.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/kernel_table.h"
#include "services/runtime/kv/kv_layout.h"
#include "services/runtime/model/model_config.h"
#include "services/runtime/model/weights.h"

namespace tandem {

enum class LogitsRows {
  kNone,  // a prefill chunk that is not the prompt's last
  kLast,  // after the chunk's last token
  kAll,   // after every token (prompt log-probabilities)
};

// The next tokens of one sequence. A step holds at most one chunk of a sequence.
struct SequenceChunk {
  absl::Span<const int32_t> tokens;  // at least one, each in [0, vocab_size)
  int64_t start = 0;  // position of tokens[0]; 0 starts a sequence, whatever its slot held
  int slot = 0;
  absl::Span<const int32_t>
      pages;  // covers positions 0 … start + tokens.size() - 1, page i from 256·i
  LogitsRows logits = LogitsRows::kLast;
};

// The next-token logits after token `token` of chunk `chunk` (both indices of the step's span).
struct LogitsRow {
  int chunk = 0;
  int token = 0;
  absl::Span<const float> logits;  // [vocab_size], valid during the call only
};
using LogitsSink = absl::FunctionRef<void(const LogitsRow&)>;

class Model {
 public:
  struct Options {
    int max_tokens_per_step = 512;  // summed over the chunks of a step; workspace grows with it
    int max_chunks_per_step = 64;
    int64_t max_positions = 8192;  // longest sequence; index lists grow with it
  };
  // INVALID_ARGUMENT when an option is out of range.
  static absl::StatusOr<std::unique_ptr<Model>> Create(const ModelConfig& config,
                                                       const Weights& weights,
                                                       const kernels::KernelTable& kernels,
                                                       const Options& options);
  ~Model();

  // Runs the step: reads and writes the chunks' pages and slots in `kv`, and calls `sink` once for
  // every requested row, chunk by chunk in ascending order.
  void Forward(absl::Span<const SequenceChunk> chunks, const KvView& kv, LogitsSink sink);

  const ModelConfig& config() const;
  const Options& options() const;

 private:
  Model();
};

}  // namespace tandem
