// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/contract.h"
#include "kernels/hc/hc_finish.cuh"
#include "kernels/hc/hc_job.h"
#include "kernels/hc/hc_mix.cuh"

namespace tandem::kernels::cuda {
namespace {

// From here on a group of chunks a block fills the machine, and its fewer partial sums pay.
constexpr int64_t kLeastGrouped = 512;

}  // namespace

// Two launches, not one whose last block to arrive would finish: at one token the arrival (fence,
// atomic, and the sums' way back) takes 0.7 µs longer than the end of a kernel and the start of the
// next, which is resident by then (H100, in a graph: 5.6 µs against 4.9).
void RunHcJob(const HcJob& job, Stream& stream) {
  KERNEL_CHECK_EQ(job.streams_count, kHcStreams);
  KERNEL_CHECK_MULTIPLE(job.dim, kHcChunk);
  KERNEL_CHECK_LE(job.dim, kMaxHcDim);
  if (job.tokens == 0) return;
  const bool grouped = job.tokens >= kLeastGrouped && job.dim > kHcChunk;
  const int64_t chunks = job.dim / kHcChunk;
  const int64_t entries = grouped ? (chunks + kHcGroup - 1) / kHcGroup : chunks;
  Scratch scratch(stream);
  float* partial = scratch.Take<float>(job.tokens * entries * kHcPartial);
  RunHcMix(job,
           {.y = job.y,
            .post = job.post_in,
            .comb = job.comb_in,
            .streams = job.streams,
            .fn = job.fn,
            .mixes = static_cast<int>(job.mixes),
            .tokens = static_cast<int>(job.tokens),
            .dim = static_cast<int>(job.dim),
            .partial = partial,
            .entries = static_cast<int>(entries)},
           stream);
  RunHcFinish(job.name,
              {.partial = partial,
               .entries = static_cast<int>(entries),
               .per_group = grouped ? 1 : kHcGroup,
               .streams = job.streams,
               .base = job.base,
               .scale = job.scale,
               .tokens = static_cast<int>(job.tokens),
               .dim = static_cast<int>(job.dim),
               .norm_eps = job.norm_eps,
               .hc_eps = job.hc_eps,
               .iterations = job.iterations,
               .x = job.x,
               .post = job.post,
               .comb = job.comb,
               .norm = job.norm,
               .q = job.q,
               .q_scale = job.q_scale},
              stream);
}

}  // namespace tandem::kernels::cuda
