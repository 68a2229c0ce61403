// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "kernels/gemm/linear_group.h"
#include "kernels/gemm/linear_group_parts.h"
#include "kernels/gemm/stream_group.cuh"
#include "kernels/gemm/stream_linear.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int64_t kGroupTokens = 16;
constexpr LinearGroupOperations kOperations = {.rms_norm = RmsNorm,
                                               .act_quant = ActQuant,
                                               .quant_linear = QuantLinear,
                                               .bf16_linear = Bf16Linear};

bool Aligned16(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

// Whether one launch can do it; what FP8 weights multiply aside.
bool FitsGroup(const LinearGroupArgs& args) {
  return args.tokens() <= kGroupTokens && args.linears[0].weight.k % kActGroup == 0 &&
         Aligned16(args.x.data) && Aligned16(args.norm.data) && Aligned16(args.q.data);
}

struct GroupKernel {
  void (*kernel)(GroupArgs args);
  int shared_bytes;
};

template <int kColumns>
GroupKernel KernelOf(int64_t stage_bytes) {
  return {StreamGroupKernel<kColumns>,
          GroupShared<kColumns>::kStage + static_cast<int>(stage_bytes)};
}

// `stage_bytes`: of inputs that blocks quantise themselves.
GroupKernel KernelFor(int tokens, int64_t stage_bytes) {
  return tokens > 8 ? KernelOf<2>(stage_bytes) : KernelOf<1>(stage_bytes);
}

// Whether a block has room for inputs that it quantises itself.
bool FitsStage(const LinearGroupArgs& args) {
  const int64_t tokens = args.tokens(), k = args.linears[0].weight.k;
  const int64_t bytes = KernelFor(static_cast<int>(tokens), StageBytes(tokens, k)).shared_bytes;
  return bytes <= kMaxSharedBytes &&
         (args.norm.data == nullptr || tokens * StagePieces(k) <= kGroupWarps * kStageRounds) &&
         StagePieces(k) <= 32;
}

int64_t UnitBytes(const GroupPart& part) {
  return int64_t{part.plan.row_warps} * (part.is_fp8 != 0 ? 1 : 2);
}

// Parts with the larger units first.
void PlanParts(const LinearGroupArgs& args, GroupArgs* group) {
  static_assert(kGroupParts == kMostLinears);
  int count = 0;
  for (const GroupLinear& linear : args.linears) {
    const WeightView weight = ViewOf(linear.weight);
    const bool is_fp8 = linear.weight.format == WeightFormat::kFp8;
    const int64_t steps =
        is_fp8 ? StepsOf<StreamFp8>(weight.k) : StepsOf<StreamBf16Bf16<>>(weight.k);
    int at = count++;
    group->parts[at] = {.codes = weight.codes,
                        .scales = weight.scales,
                        .y = is_fp8 ? static_cast<void*>(linear.y.data) : linear.y_float.data,
                        .n = static_cast<int>(weight.n),
                        .plan = PlanStream(RowTiles(weight.n), steps, Multiprocessors()),
                        .is_fp8 = is_fp8};
    for (; at > 0 && UnitBytes(group->parts[at - 1]) < UnitBytes(group->parts[at]); --at) {
      std::swap(group->parts[at - 1], group->parts[at]);
    }
  }
  for (int i = 0; i < kGroupParts; ++i) {
    group->first_unit[i] = group->units;
    if (i >= count) continue;
    const GroupPart& part = group->parts[i];
    group->units += static_cast<int>(Blocks(RowTiles(part.n), part.plan.row_warps));
  }
}

StageSource SourceOf(const LinearGroupArgs& args) {
  return {.x = reinterpret_cast<const uint8_t*>(args.x.data),
          .norm = reinterpret_cast<const uint8_t*>(args.norm.data),
          .eps = args.eps,
          .k = static_cast<int>(args.x.shape[1]),
          .tokens = static_cast<int>(args.tokens())};
}

// y = W·q(x) for up to eight tokens of args.source; false, and nothing has begun, where a block has
// no room for them.
bool StreamQuantised(const char* name, const StreamArgs& args, Stream& stream) {
  using Atom = StreamFp8;
  const int64_t pieces = StagePieces(args.weight.k);
  const StreamPlan plan =
      PlanStream(RowTiles(args.weight.n), StepsOf<Atom>(args.weight.k), Multiprocessors());
  const int64_t warps = int64_t{plan.row_warps} << plan.split_bits;
  if (args.tokens > 8 ||
      (args.source.norm != nullptr &&
       (pieces > 32 || args.tokens * pieces > warps * kStageRounds)) ||
      StreamShared<Atom, Inputs::kQuantised, kStreamDepth>(args, plan) > kMaxSharedBytes) {
    return false;
  }
  LaunchStream<Atom, Bf16, 1, Inputs::kQuantised, kStreamDepth, 112>(name, args, plan, stream);
  return true;
}

// A group of one weight whose inputs are quantised here needs no units: whether it has been queued.
bool RunsAlone(const LinearGroupArgs& args, Stream& stream) {
  if (args.linears.size() != 1 || !WantsQuantised(args)) return false;
  const GroupLinear& linear = args.linears[0];
  return StreamQuantised("linear_group",
                         {.weight = ViewOf(linear.weight),
                          .group_rows = linear.weight.n,
                          .y = linear.y.data,
                          .tokens = args.tokens(),
                          .source = SourceOf(args)},
                         stream);
}

// Room for staged inputs is there, if they are to be.
void LaunchGroup(const LinearGroupArgs& args, Stream& stream) {
  const int64_t tokens = args.tokens(), k = args.linears[0].weight.k;
  const bool staged = WantsQuantised(args);
  const auto view = [&](const void* x, const void* scale, int64_t stride) {
    return InputView{.x = static_cast<const uint8_t*>(x),
                     .scale = static_cast<const uint8_t*>(scale),
                     .x_stride = static_cast<uint32_t>(stride),
                     .scale_stride = static_cast<uint32_t>(k / kActGroup),
                     .k = static_cast<int>(k),
                     .tokens = static_cast<int>(tokens)};
  };
  GroupArgs group = {.k = static_cast<int>(k),
                     .tokens = static_cast<int>(tokens),
                     .plain = view(args.x.data, nullptr, 2 * k),
                     .quantised = view(args.q.data, args.scale.data, staged ? StageStride(k) : k),
                     .source = staged ? SourceOf(args) : StageSource{}};
  PlanParts(args, &group);
  const GroupKernel kernel =
      KernelFor(static_cast<int>(tokens), staged ? StageBytes(tokens, k) : 0);
  Launch({.name = "linear_group",
          .grid = dim3(static_cast<unsigned>(std::min(group.units, Multiprocessors()))),
          .threads = 32 * kGroupWarps,
          .shared_bytes = kernel.shared_bytes},
         stream, kernel.kernel, group);
}

}  // namespace

void LinearGroup(const LinearGroupArgs& args, Stream& stream) {
  CheckLinearGroup(args);
  if (args.tokens() == 0) return;
  if (!FitsGroup(args)) return LinearGroupWith(kOperations, args, stream);
  if (RunsAlone(args, stream)) return;
  if (WantsQuantised(args) && !FitsStage(args)) {
    Scratch scratch(stream);
    LaunchGroup(Quantised(kOperations, args, scratch, stream), stream);
  } else {
    LaunchGroup(args, stream);
  }
}

}  // namespace tandem::kernels::cuda
