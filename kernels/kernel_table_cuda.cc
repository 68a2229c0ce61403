// SPDX-License-Identifier: Apache-2.0
#include "kernels/kernel_table.h"

namespace tandem::kernels {

// In groups, with a comment between, as in kernel_table.h.
const KernelTable kCudaKernels = {
    .name = "cuda",
    // loading
    // norm
    .rms_norm = cuda::RmsNorm,
    .head_norm = cuda::HeadNorm,
    // rope
    .rope_table = cuda::RopeTable,
    .rope = cuda::Rope,
    // quant
    // gemm
    // hc
    .hc_embed = cuda::HcEmbed,
    .hc_pre = cuda::HcPre,
    .hc_post = cuda::HcPost,
    .hc_head = cuda::HcHead,
    .hc_pre_norm_quant = cuda::HcPreNormQuant,
    .hc_post_pre = cuda::HcPostPre,
    // comm
    .all_reduce = cuda::AllReduce,
    // attention: index, write
    // attention: compressor, indexer
    .compressor = cuda::Compressor,
    // attention: sparse
    // moe
    // sampling
};

}  // namespace tandem::kernels
