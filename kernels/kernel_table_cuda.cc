// SPDX-License-Identifier: Apache-2.0
#include "kernels/kernel_table.h"

namespace tandem::kernels {

// In groups, with a comment between, as in kernel_table.h.
const KernelTable kCudaKernels = {
    .name = "cuda",
    // loading
    .prepared_bytes = cuda::PreparedBytes,
    .prepare_linear = cuda::PrepareLinear,
    // norm
    .rms_norm = cuda::RmsNorm,
    // rope
    // quant
    .act_quant = cuda::ActQuant,
    .hadamard = cuda::Hadamard,
    .fp4_quant = cuda::Fp4Quant,
    // gemm
    .quant_linear = cuda::QuantLinear,
    .bf16_linear = cuda::Bf16Linear,
    .grouped_linear = cuda::GroupedLinear,
    // hc
    // attention: index, write
    .window_index = cuda::WindowIndex,
    .compressed_index = cuda::CompressedIndex,
    .kv_write = cuda::KvWrite,
    .qkv_finish = cuda::QkvFinish,
    .window_commit = cuda::WindowCommit,
    // attention: compressor, indexer
    .index_query = cuda::IndexQuery,
    .indexer_topk = cuda::IndexerTopk,
    // attention: sparse
    .sparse_attention = cuda::SparseAttention,
    // moe
    // sampling
    .penalties = cuda::Penalties,
    .uniform = cuda::Uniform,
    .sample = cuda::Sample,
    .top_logprobs = cuda::TopLogprobs,
};

}  // namespace tandem::kernels
