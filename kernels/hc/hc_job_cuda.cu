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

void RunHcJob(const HcJob& job, Stream& stream) {
  KERNEL_CHECK_EQ(job.streams_count, kHcStreams);
  KERNEL_CHECK_MULTIPLE(job.dim, kHcChunk);
  KERNEL_CHECK_LE(job.dim, kMaxHcDim);
  if (job.tokens == 0) return;
  HcMixArgs mix = {.y = job.y,
                   .post = job.post_in,
                   .comb = job.comb_in,
                   .streams = job.streams,
                   .fn = job.fn,
                   .mixes = static_cast<int>(job.mixes),
                   .tokens = static_cast<int>(job.tokens),
                   .dim = static_cast<int>(job.dim)};
  HcFinishArgs finish = {.streams = job.streams,
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
                         .q_scale = job.q_scale};
  if (job.tokens <= kHcRows) return RunHcRows(job, mix, finish, stream);
  const bool grouped = job.tokens >= kLeastGrouped && job.dim > kHcChunk;
  const int chunks = mix.dim / kHcChunk;
  mix.entries = finish.entries = grouped ? (chunks + kHcGroup - 1) / kHcGroup : chunks;
  finish.per_group = grouped ? 1 : kHcGroup;
  Scratch scratch(stream);
  mix.partial = scratch.Take<float>(job.tokens * mix.entries * kHcPartial);
  finish.partial = mix.partial;
  RunHcMix(job.name, mix, stream);
  RunHcFinish(job.name, finish, stream);
}

}  // namespace tandem::kernels::cuda
