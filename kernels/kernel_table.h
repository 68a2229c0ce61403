// SPDX-License-Identifier: Apache-2.0
// KernelTable: every operation of the forward pass as a plain function pointer; the one seam
// between model and hardware.
//
// Callers write `kernels.hc_post({.y = …, .streams = …}, stream)`. Contracts stand in each
// operation's header. Operations run in stream order, allocate nothing in a steady state and return
// nothing: a broken contract ends the process, a device's error is in the stream. A table is
// constant, may be used by many threads, one stream each.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/attention/compressed_index.h"
#include "kernels/attention/compressor.h"
#include "kernels/attention/indexer_topk.h"
#include "kernels/attention/kv_write.h"
#include "kernels/attention/qkv_finish.h"
#include "kernels/attention/sparse_attention.h"
#include "kernels/attention/window_commit.h"
#include "kernels/attention/window_index.h"
#include "kernels/comm/all_reduce.h"
#include "kernels/comm/gather.h"
#include "kernels/common/stream.h"
#include "kernels/gemm/bf16_linear.h"
#include "kernels/gemm/grouped_linear.h"
#include "kernels/gemm/linear_group.h"
#include "kernels/gemm/linear_weight.h"
#include "kernels/gemm/quant_linear.h"
#include "kernels/hc/hc_embed.h"
#include "kernels/hc/hc_head.h"
#include "kernels/hc/hc_post.h"
#include "kernels/hc/hc_post_pre.h"
#include "kernels/hc/hc_pre.h"
#include "kernels/hc/hc_pre_norm_quant.h"
#include "kernels/moe/gate_hash.h"
#include "kernels/moe/gate_score.h"
#include "kernels/moe/moe_experts.h"
#include "kernels/moe/moe_layer.h"
#include "kernels/moe/swiglu.h"
#include "kernels/norm/head_norm.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/quant/act_quant.h"
#include "kernels/quant/fp4_quant.h"
#include "kernels/quant/hadamard.h"
#include "kernels/quant/index_query.h"
#include "kernels/rope/rope.h"
#include "kernels/rope/rope_table.h"
#include "kernels/sampling/penalties.h"
#include "kernels/sampling/sample.h"
#include "kernels/sampling/top_logprobs.h"
#include "kernels/sampling/uniform.h"

namespace tandem::kernels {

struct KernelTable {
  const char* name;

  // Of what loading makes of equal weights: processes share a copy only of one version.
  int weight_version;
  // Host functions for loading (kernels/gemm/linear_weight.h).
  int64_t (*prepared_bytes)(const LinearWeight& weight);
  void (*prepare_linear)(LinearWeight* weight, std::span<uint8_t> storage);

  // norm
  void (*rms_norm)(const RmsNormArgs& args, Stream& stream);
  void (*head_norm)(const HeadNormArgs& args, Stream& stream);

  // rope
  void (*rope_table)(const RopeTableArgs& args, Stream& stream);
  void (*rope)(const RopeArgs& args, Stream& stream);

  // quant
  void (*act_quant)(const ActQuantArgs& args, Stream& stream);
  void (*hadamard)(const HadamardArgs& args, Stream& stream);
  void (*fp4_quant)(const Fp4QuantArgs& args, Stream& stream);

  // gemm
  void (*quant_linear)(const QuantLinearArgs& args, Stream& stream);
  void (*bf16_linear)(const Bf16LinearArgs& args, Stream& stream);
  void (*grouped_linear)(const GroupedLinearArgs& args, Stream& stream);
  void (*linear_group)(const LinearGroupArgs& args, Stream& stream);

  // hc
  void (*hc_embed)(const HcEmbedArgs& args, Stream& stream);
  void (*hc_pre)(const HcPreArgs& args, Stream& stream);
  void (*hc_post)(const HcPostArgs& args, Stream& stream);
  void (*hc_head)(const HcHeadArgs& args, Stream& stream);
  void (*hc_pre_norm_quant)(const HcPreNormQuantArgs& args, Stream& stream);
  void (*hc_post_pre)(const HcPostPreArgs& args, Stream& stream);

  // comm
  void (*all_reduce)(const AllReduceArgs& args, Stream& stream);
  void (*gather)(const GatherArgs& args, Stream& stream);

  // attention
  void (*window_index)(const WindowIndexArgs& args, Stream& stream);
  void (*compressed_index)(const CompressedIndexArgs& args, Stream& stream);
  void (*kv_write)(const KvWriteArgs& args, Stream& stream);
  void (*qkv_finish)(const QkvFinishArgs& args, Stream& stream);
  void (*window_commit)(const WindowCommitArgs& args, Stream& stream);
  void (*compressor)(const CompressorArgs& args, Stream& stream);
  void (*index_query)(const IndexQueryArgs& args, Stream& stream);
  void (*indexer_topk)(const IndexerTopkArgs& args, Stream& stream);
  void (*sparse_attention)(const SparseAttentionArgs& args, Stream& stream);

  // moe
  void (*gate_score)(const GateScoreArgs& args, Stream& stream);
  void (*gate_hash)(const GateHashArgs& args, Stream& stream);
  void (*swiglu)(const SwigluArgs& args, Stream& stream);
  void (*moe_experts)(const MoeExpertsArgs& args, Stream& stream);
  void (*moe_layer)(const MoeLayerArgs& args, Stream& stream);

  // sampling
  void (*penalties)(const PenaltiesArgs& args, Stream& stream);
  void (*uniform)(const UniformArgs& args, Stream& stream);
  void (*sample)(const SampleArgs& args, Stream& stream);
  void (*top_logprobs)(const TopLogprobsArgs& args, Stream& stream);
};

// Plainest loops on checkpoint bytes, fp64 sums inside products: the judge of every other table.
extern const KernelTable kCpuReferenceKernels;
// The same with the hot operations made fast; what services use on a CPU.
extern const KernelTable kCpuKernels;
// The same operations on a GPU of sm_90a or sm_120f; linked where TANDEM_CUDA is on. Views point to
// device memory, except where a contract speaks of host arrays; streams are MakeDeviceStream's.
extern const KernelTable kCudaKernels;

}  // namespace tandem::kernels
