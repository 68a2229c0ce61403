// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/fragment_order.h"
#include "kernels/kernel_table.h"

namespace tandem::kernels {

// In groups, with a comment between, as in kernel_table.h.
const KernelTable kCudaKernels = {
    .name = "cuda",
    // loading
    .weight_version = kFragmentOrderVersion,
    .prepared_bytes = cuda::PreparedBytes,
    .prepare_linear = cuda::PrepareLinear,
    // norm
    .rms_norm = cuda::RmsNorm,
    .head_norm = cuda::HeadNorm,
    // rope
    .rope_table = cuda::RopeTable,
    .rope = cuda::Rope,
    // quant
    .act_quant = cuda::ActQuant,
    .hadamard = cuda::Hadamard,
    .fp4_quant = cuda::Fp4Quant,
    // gemm
    .quant_linear = cuda::QuantLinear,
    .bf16_linear = cuda::Bf16Linear,
    .grouped_linear = cuda::GroupedLinear,
    .linear_group = cuda::LinearGroup,
    // hc
    .hc_embed = cuda::HcEmbed,
    .hc_pre = cuda::HcPre,
    .hc_post = cuda::HcPost,
    .hc_head = cuda::HcHead,
    .hc_pre_norm_quant = cuda::HcPreNormQuant,
    .hc_post_pre = cuda::HcPostPre,
    // comm
    .all_reduce = cuda::AllReduce,
    .gather = cuda::Gather,
    // attention: index, write
    .window_index = cuda::WindowIndex,
    .compressed_index = cuda::CompressedIndex,
    .kv_write = cuda::KvWrite,
    .qkv_finish = cuda::QkvFinish,
    .window_commit = cuda::WindowCommit,
    // attention: compressor, indexer
    .compressor = cuda::Compressor,
    .index_query = cuda::IndexQuery,
    .indexer_topk = cuda::IndexerTopk,
    // attention: sparse
    .sparse_attention = cuda::SparseAttention,
    // moe
    .gate_score = cuda::GateScore,
    .gate_hash = cuda::GateHash,
    .swiglu = cuda::Swiglu,
    .moe_experts = cuda::MoeExperts,
    .moe_layer = cuda::MoeLayer,
    // sampling
    .penalties = cuda::Penalties,
    .uniform = cuda::Uniform,
    .sample = cuda::Sample,
    .top_logprobs = cuda::TopLogprobs,
};

}  // namespace tandem::kernels
