// SPDX-License-Identifier: Apache-2.0
// Step and Workspace: what the parts of the forward pass share while one engine step runs.
//
// Workspace is the working memory of the largest step, taken once where the kernels work. Step
// describes the running one: its tokens as one batch of T over all chunks, and what every layer of
// a kind would compute alike: angles, and lists of visible rows. The host writes the former into a
// Mirror, so that it reaches a device by one copy; kernels make the latter. Context is how a part
// reaches everything; it is passed by reference and owns nothing. Not thread-safe.
#pragma once

#include <compare>
#include <cstdint>

#include "absl/types/span.h"
#include "kernels/common/backend/memory.h"
#include "kernels/common/backend/mirror.h"
#include "kernels/common/batch.h"
#include "kernels/kernel_set.h"
#include "services/runtime/kv/kv_layout.h"
#include "services/runtime/model/config/model_config.h"
#include "services/runtime/model/weights.h"
#include "services/runtime/parallel/communicator.h"

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

struct StepLimits {
  int max_tokens_per_step = 512;  // summed over the chunks of a step; working memory grows with it
  int max_chunks_per_step = 64;
  int64_t max_positions = 8192;  // longest sequence; lists of visible rows grow with it
};

using BfMatrix = kernels::TensorView<kernels::Bf16, 2>;
using Streams = kernels::TensorView<kernels::Bf16, 3>;  // [T, 4, D]

using kernels::Buffer;

// The quantised input of FP8 linears; several of them share one.
struct QuantInput {
  kernels::TensorView<kernels::E4M3, 2> q;       // [T, K]
  kernels::TensorView<kernels::Ue8m0, 2> scale;  // [T, K/128]
};

struct Workspace {
  Workspace(const ModelConfig& config, const StepLimits& limits, kernels::Memory& memory);

  QuantInput QuantOf(int64_t tokens, int64_t width) {
    return {quant.View(tokens, width), quant_scale.View(tokens, width / kernels::kActGroup)};
  }

  Buffer<kernels::Bf16> streams;       // [T, 4, D]
  Buffer<kernels::Bf16> x;             // [T, D] a sub-layer's input
  Buffer<kernels::Bf16> y;             // [T, D] and output
  Buffer<float> post;                  // [T, 4]
  Buffer<float> comb;                  // [T, 4, 4]
  Buffer<kernels::E4M3> quant;         // [T, K] the input of FP8 linears, of any width K
  Buffer<kernels::Ue8m0> quant_scale;  // [T, K/128]
  // attention
  Buffer<kernels::Bf16> qr;    // [T, q_lora_rank]
  Buffer<kernels::Bf16> q;     // [T, H, 512], then the attention output
  Buffer<kernels::Bf16> kv;    // [T, 512]
  Buffer<uint8_t> chunk_rows;  // T rows in pages of 64
  Buffer<kernels::Bf16> z;     // [T, o_groups, o_lora_rank]
  Buffer<float> u;             // [T, c·d]
  Buffer<float> g;             // [T, c·d]
  // indexer
  Buffer<kernels::Bf16> index_q;          // [T, index_n_heads, 128]
  Buffer<uint8_t> index_q4;               // [T, index_n_heads, 64]
  Buffer<kernels::Ue8m0> index_q4_scale;  // [T, index_n_heads, 4]
  Buffer<float> index_proj;               // [T, index_n_heads]
  Buffer<float> index_u;                  // [T, 2·128]
  Buffer<float> index_g;                  // [T, 2·128]
  // what all layers of a kind share
  Buffer<float> rope, compress_rope;        // [2, T, 32] cosines, then sines
  Buffer<int32_t> ring_index, chunk_index;  // [T, 127], [T, 128]
  Buffer<int32_t> csa_index, hca_index;     // [T, most rows]
};

struct RopeAngles {
  kernels::TensorView<float, 2> cos;  // [T, 32]
  kernels::TensorView<float, 2> sin;  // [T, 32]
};

// RopeFrequencies of both kinds of layers.
struct RopeBases {
  RopeBases(const ModelConfig& config, kernels::Memory& memory);
  FloatVector main;      // [32] ratio 0
  FloatVector compress;  // [32] all others
};

struct Step {
  kernels::Batch batch;
  kernels::TensorView<const int32_t, 1> tokens;  // [T]
  kernels::TensorView<const int32_t, 1>
      token_index;  // [T] 0, 1, …: row t of the chunk rows is token t's
  RopeAngles rope;
  RopeAngles compress_rope;
  kernels::TensorView<int32_t, 2> ring_index;   // window rows of earlier steps
  kernels::TensorView<int32_t, 2> chunk_index;  // window rows of this step
  kernels::TensorView<int32_t, 2> hca_index;    // every visible HCA row
  int64_t csa_rows = 0;                         // how many CSA rows a token selects at most

  int64_t size() const { return batch.tokens(); }
};

// All that differs between the operations of two steps, but for the values in their inputs. The
// lists' lengths are rounded up, so that few shapes occur.
struct StepShape {
  int64_t tokens = 0, sequences = 0, pages = 0;
  int64_t ring = 0, chunk = 0, csa = 0, hca = 0;  // columns of the lists of rows

  friend auto operator<=>(const StepShape&, const StepShape&) = default;
};
StepShape ShapeOf(const Step& step);

struct Context {
  const ModelConfig& config;
  const kernels::KernelTable& kernels;
  kernels::Stream& stream;
  const RopeBases& frequencies;
  Workspace& work;
  const Step& step;
  const KvView& kv;
  Communicator* communicator = nullptr;  // of a rank that has peers
  bool sums_mlps = false;                // with them; else every rank has all of an MLP
};

// The room that the largest step's description takes in a Mirror.
int64_t StepRoom(const StepLimits& limits);

// Lays the chunks out as one batch behind what `inputs` holds, and says where kernels will put what
// all layers share. Queues nothing.
struct StepParts {
  const ModelConfig& config;
  const StepLimits& limits;
  Workspace& work;
  kernels::Mirror& inputs;
};
Step DescribeStep(absl::Span<const SequenceChunk> chunks, const StepParts& parts);

// Fills what all layers share, once the inputs are there.
void PrepareStep(const Context& c);

}  // namespace tandem
