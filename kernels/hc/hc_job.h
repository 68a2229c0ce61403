// SPDX-License-Identifier: Apache-2.0
// What hc_pre, hc_head and the fused operations ask of a device: one job, in one launch or more.
// Internal to kernels/hc. The views' shapes are checked by the operations.
#pragma once

#include "kernels/comm/peer_group.h"
#include "kernels/common/dtype.h"
#include "kernels/common/stream.h"
#include "kernels/hc/hc_pre_norm_quant.h"

namespace tandem::kernels::cuda {

struct HcJob {
  const char* name = "";
  int64_t tokens = 0;
  int64_t streams_count = 0;
  int64_t dim = 0;
  int64_t mixes = 0;  // 24, or hc_head's 4

  // hc_post before it: y null for none.
  const Bf16* y = nullptr;
  const float* post_in = nullptr;
  const float* comb_in = nullptr;
  Bf16* streams = nullptr;  // written only with y
  PeerView peers;           // of more ranks than one: y is this rank's part

  const float* fn = nullptr;
  const float* base = nullptr;
  const float* scale = nullptr;
  float norm_eps = 0;
  float hc_eps = 0;
  int iterations = 0;

  Bf16* x = nullptr;
  float* post = nullptr;
  float* comb = nullptr;
  // Norm and quantisation behind it: norm null for none.
  const Bf16* norm = nullptr;
  E4M3* q = nullptr;
  Ue8m0* q_scale = nullptr;
};

// What hc_head and hc_pre have in common.
template <typename Args>
HcJob MixOf(const char* name, const Args& args) {
  return {.name = name,
          .tokens = args.streams.shape[0],
          .streams_count = args.streams.shape[1],
          .dim = args.streams.shape[2],
          .mixes = args.fn.shape[0],
          .streams = const_cast<Bf16*>(args.streams.data),
          .fn = args.fn.data,
          .base = args.base.data,
          .scale = args.scale.data,
          .norm_eps = args.norm_eps,
          .hc_eps = args.hc_eps,
          .x = args.x.data};
}

// hc_pre as a job, and hc_pre_norm_quant; hc_post_pre puts its hc_post before that.
HcJob JobOf(const HcPreArgs& args);
HcJob JobOf(const HcPreNormQuantArgs& args);

void RunHcJob(const HcJob& job, Stream& stream);

// Its two halves (hc_mix.cuh, hc_finish.cuh), of up to kHcRows tokens in one; `name` is the
// operation's, for errors.
struct HcMixArgs;
struct HcFinishArgs;
void RunHcRows(const HcJob& job, const HcMixArgs& mix, const HcFinishArgs& finish, Stream& stream);
void RunHcMix(const char* name, const HcMixArgs& args, Stream& stream);
void RunHcFinish(const char* name, const HcFinishArgs& args, Stream& stream);

}  // namespace tandem::kernels::cuda
