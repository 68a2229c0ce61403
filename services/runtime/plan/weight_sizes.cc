// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/plan/weight_sizes.h"

#include "kernels/gemm/fragment_order.h"
#include "services/runtime/plan/counting_backend.h"

namespace tandem {
namespace {

using kernels::WeightFormat;

constexpr int64_t kBf16 = 2, kF32 = 4, kI64 = 8;
// Where a piece may begin (loader/weight_plan.cc).
constexpr int64_t kAlign = 256;

// The tensors of specification 2.1 and 2.2 (loader/weight_binder.cc), added up.
class Sum {
 public:
  explicit Sum(const ModelConfig& config) : c_(config) {}

  WeightSizes Model() {
    const int64_t vocabulary = int64_t{c_.vocab_size} * c_.hidden_size;
    Plain(sizes_.vocabulary, kBf16 * vocabulary);
    Linear(sizes_.vocabulary, WeightFormat::kBf16, c_.head_rows, c_.hidden_size);
    Plain(sizes_.rest, kBf16 * c_.hidden_size);
    HyperConnection(kHcMult, 1);
    for (int i = 0; i < c_.num_hidden_layers; ++i) Layer(i);
    return sizes_;
  }

 private:
  void Plain(int64_t& kind, int64_t bytes) {
    sizes_.checkpoint += bytes;
    constexpr int64_t kPiece = CountingBackend::kPiece;
    kind += (bytes + kPiece - 1) / kPiece * kPiece;
  }
  void Linear(int64_t& kind, WeightFormat format, int64_t n, int64_t k, int64_t times = 1) {
    const kernels::LinearWeight weight{.format = format, .n = n, .k = k};
    sizes_.checkpoint += times * (n * kernels::RowBytes(weight) + kernels::ScaleCount(weight));
    // Whole tiles of rows, and FP4's scales with them.
    kernels::LinearWeight tiles = weight;
    if (format == WeightFormat::kFp4) tiles.n = kernels::RowTiles(n) * kernels::kTileRows;
    const int64_t prepared =
        kernels::FragmentScaleOffset(format, n, k) + kernels::ScaleCount(tiles);
    kind += times * ((prepared + kAlign - 1) / kAlign * kAlign);
  }

  void HyperConnection(int64_t rows, int64_t scales) {
    Plain(sizes_.rest, kF32 * rows * kHcMult * c_.hidden_size);
    Plain(sizes_.rest, kF32 * rows);
    Plain(sizes_.rest, kF32 * scales);
  }

  void Compressor(int64_t& kind, int ratio, int64_t dim) {
    const int64_t width = (ratio == 4 ? 2 : 1) * dim;
    Plain(kind, kF32 * ratio * width);
    Plain(kind, kBf16 * dim);
    Linear(kind, WeightFormat::kBf16, width, c_.hidden_size, 2);
  }

  void Attention(int ratio) {
    const int64_t heads = int64_t{c_.num_attention_heads} * kHeadDim;
    const int64_t latent = int64_t{c_.o_groups} * c_.o_lora_rank;
    int64_t& kind = sizes_.attention;
    Linear(kind, WeightFormat::kFp8, c_.q_lora_rank, c_.hidden_size);
    Linear(kind, WeightFormat::kFp8, heads, c_.q_lora_rank);
    Linear(kind, WeightFormat::kFp8, kHeadDim, c_.hidden_size);
    Linear(kind, WeightFormat::kFp8, latent, heads / c_.o_groups);
    Linear(kind, WeightFormat::kFp8, c_.hidden_size, latent);
    Plain(kind, kBf16 * c_.q_lora_rank);
    Plain(kind, kBf16 * kHeadDim);
    Plain(kind, kF32 * c_.num_attention_heads);
    if (ratio != 0) Compressor(sizes_.compressor, ratio, kHeadDim);
    if (ratio != 4) return;
    const int64_t index = int64_t{c_.index_n_heads} * kIndexHeadDim;
    Linear(sizes_.indexer, WeightFormat::kFp8, index, c_.q_lora_rank);
    Linear(sizes_.indexer, WeightFormat::kBf16, c_.index_n_heads, c_.hidden_size);
    Compressor(sizes_.indexer, ratio, kIndexHeadDim);
  }

  // w1, w3 and w2.
  void Expert(int64_t& kind, WeightFormat format, int64_t times) {
    Linear(kind, format, c_.moe_intermediate_size, c_.hidden_size, 2 * times);
    Linear(kind, format, c_.hidden_size, c_.moe_intermediate_size, times);
  }

  void Layer(int i) {
    constexpr int64_t kMixes = (2 + kHcMult) * kHcMult;
    HyperConnection(kMixes, 3);
    HyperConnection(kMixes, 3);
    Plain(sizes_.rest, kBf16 * c_.hidden_size);
    Plain(sizes_.rest, kBf16 * c_.hidden_size);
    Attention(c_.compress_ratios[i]);
    Linear(sizes_.rest, WeightFormat::kBf16, c_.n_routed_experts, c_.hidden_size);
    if (c_.uses_hash_router(i)) {
      Plain(sizes_.rest, kI64 * c_.vocab_size * c_.num_experts_per_tok);
    } else {
      Plain(sizes_.rest, kF32 * c_.n_routed_experts);
    }
    Expert(sizes_.experts, WeightFormat::kFp4, c_.n_routed_experts);
    Expert(sizes_.shared, WeightFormat::kFp8, 1);
  }

  const ModelConfig& c_;
  WeightSizes sizes_;
};

}  // namespace

WeightSizes SizesOf(const ModelConfig& config) {
  return Sum(config).Model();
}

int64_t MostOnHost(const ModelConfig& config) {
  return 2 * SizesOf(config).checkpoint;
}

}  // namespace tandem
