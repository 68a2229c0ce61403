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
    // gemm
    .quant_linear = cuda::QuantLinear,
    .bf16_linear = cuda::Bf16Linear,
    .grouped_linear = cuda::GroupedLinear,
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
