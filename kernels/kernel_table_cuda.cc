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
    // gemm
    // hc
    // attention: index, write
    // attention: compressor, indexer
    // attention: sparse
    // moe
    .gate_score = cuda::GateScore,
    .gate_hash = cuda::GateHash,
    .swiglu = cuda::Swiglu,
    .moe_experts = cuda::MoeExperts,
    .moe_layer = cuda::MoeLayer,
    // sampling
};

}  // namespace tandem::kernels
