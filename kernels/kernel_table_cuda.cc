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
    .indexer_topk = cuda::IndexerTopk,
    // attention: sparse
    // moe
    // sampling
};

}  // namespace tandem::kernels
