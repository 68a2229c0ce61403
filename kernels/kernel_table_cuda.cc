// SPDX-License-Identifier: Apache-2.0
#include "kernels/kernel_table.h"

namespace tandem::kernels {

// In groups, with a comment between, as in kernel_table.h.
const KernelTable kCudaKernels = {
    .name = "cuda",
    // loading
    // norm
    .rms_norm = cuda::RmsNorm,
    // rope
    // quant
    .act_quant = cuda::ActQuant,
    .hadamard = cuda::Hadamard,
    .fp4_quant = cuda::Fp4Quant,
    // gemm
    // hc
    // attention: index, write
    // attention: compressor, indexer
    .index_query = cuda::IndexQuery,
    .indexer_topk = cuda::IndexerTopk,
    // attention: sparse
    // moe
    // sampling
    .penalties = cuda::Penalties,
    .uniform = cuda::Uniform,
    .sample = cuda::Sample,
    .top_logprobs = cuda::TopLogprobs,
};

}  // namespace tandem::kernels
