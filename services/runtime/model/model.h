// SPDX-License-Identifier: Apache-2.0
// Model: the DeepSeek-V4 forward pass over a shared paged KV pool, on one kernel table and its
// backend: the host's, where a step has run when Forward returns, or a GPU's, where it is queued.
//
// One Forward is one engine step: chunks of different sequences, decode chunks of one token and
// prefill chunks of many alike. The result of a token never depends on the chunking, on its
// neighbours in the step, or on where its pages and slot lie: bit for bit. Working memory is taken
// in Create; a step takes none of tensor size.
//
// One rank of several computes its shard's part (config/shard.h) in a thread of its own, and sums
// with its peers behind every sub-layer; each has a whole copy of the pool, for the rows of a token
// are the same on all. Logits of a cut head come together on rank 0.
//
// Weights, pool and working memory lie where the backend allocates. Borrows the weights, the kernel
// set's parts and the communicator; all outlive it. Not thread-safe.
// Contract breaches (unknown token id, page or slot out of range, too many tokens) are bugs and
// stop the process: callers check what clients send against config(), limits() and the layout.
// Source: specification 3 (forward pass); names as there.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/kernel_set.h"
#include "services/runtime/kv/kv_layout.h"
#include "services/runtime/model/config/model_config.h"
#include "services/runtime/model/step.h"
#include "services/runtime/model/weights.h"

namespace tandem {

// A token whose next-token logits are wanted: token `token` of chunk `chunk` (both indices of the
// step's span).
struct LogitsRow {
  int chunk = 0;
  int token = 0;
};

// Some of a step's wanted rows. `logits` are the kernels' memory, and valid for what the sink
// queues on the model's stream.
struct LogitsBlock {
  absl::Span<const LogitsRow> rows;
  // [rows, vocab_size]; of a part alone, without communicator: [rows, head_rows].
  kernels::TensorView<const float, 2> logits;
};
using LogitsSink = absl::FunctionRef<void(const LogitsBlock&)>;
// How many layers are queued: the stream has all that the step writes of their rows and states.
using LayersSink = absl::FunctionRef<void(int)>;

class Model {
 public:
  // INVALID_ARGUMENT when a limit is out of range; RESOURCE_EXHAUSTED when there is no memory for a
  // step.
  struct Parts {
    const ModelConfig& config;
    const Weights& weights;
    kernels::KernelSet kernels;
    Communicator* communicator = nullptr;  // of a rank that has peers
    bool sums_mlps = true;                 // with them (CutsMlps)
    bool logits = true;                    // false: rank 0 has them, and the sink is not called
  };
  static absl::StatusOr<std::unique_ptr<Model>> Create(const Parts& parts,
                                                       const StepLimits& limits);

  // A step, part by part: what it is made of, behind what `inputs` holds, which has step_room()
  // left; nothing is queued.
  Step Describe(absl::Span<const SequenceChunk> chunks, const KvView& kv, kernels::Mirror& inputs);
  int64_t step_room() const { return StepRoom(limits_); }
  // Queues its operations on stream(), behind the copy of its inputs: they read and write the
  // chunks' pages and slots in `kv`, and `sink` is called for blocks that together hold every
  // requested row, in the order of chunks and tokens; before that `queued`, behind each layer.
  // Steps of one StepShape whose chunks want the same rows queue the same operations on the same
  // addresses.
  struct Running {
    absl::Span<const SequenceChunk> chunks;
    const Step& step;
    const KvView& kv;
  };
  void Queue(const Running& run, LogitsSink sink, LayersSink queued);

  // All of it, for callers with no inputs of their own. No chunks: nothing.
  void Forward(absl::Span<const SequenceChunk> chunks, const KvView& kv, LogitsSink sink);

  // One layer alone, from given streams (bf16 bits, [T, 4, D] over the chunks in order), in place.
  // For comparing layers with a reference; caches are read and written as by Forward.
  void RunLayer(int layer, absl::Span<const SequenceChunk> chunks, const KvView& kv,
                absl::Span<uint16_t> streams);

  // Steps, and what their caller adds to them, run in its order.
  kernels::Stream& stream() { return stream_; }
  const kernels::KernelSet& kernels() const { return kernels_; }
  const ModelConfig& config() const { return config_; }
  const StepLimits& limits() const { return limits_; }

 private:
  // Neighbours among the step's tokens.
  struct Run {
    int64_t first = 0;
    int64_t count = 0;
  };
  class HeadRows;

  Model(const Parts& parts, const StepLimits& limits);
  Context ContextOf(const Step& step, const KvView& kv);
  void Head(absl::Span<const SequenceChunk> chunks, const Streams& streams, LogitsSink sink);
  Streams Gather(absl::Span<const Run> runs, const Streams& streams);
  void HeadBlock(absl::Span<const LogitsRow> rows, const Streams& streams, LogitsSink sink);

  const ModelConfig config_;
  const Weights& weights_;
  const kernels::KernelSet kernels_;
  Communicator* const communicator_;
  const bool sums_mlps_;
  const bool has_logits_;
  const bool cuts_head_;      // each rank has a part of it; if not, who has no logits has no head
  const int64_t block_rows_;  // of the head
  const StepLimits limits_;
  kernels::Memory memory_;
  const RopeBases frequencies_;
  kernels::Stream stream_;
  Workspace work_;
  kernels::Mirror inputs_;
  // The head runs over blocks of rows, so that prompt log-probabilities of a long chunk need no
  // more memory.
  Buffer<kernels::Bf16> head_streams_;  // [rows, 4, D]
  Buffer<kernels::Bf16> head_x_;        // [rows, D]
  Buffer<float> part_;                  // [rows, head_rows] of a cut head
  Buffer<float> logits_;                // [rows, V]
};

}  // namespace tandem
