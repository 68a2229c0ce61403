// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/plan/worker_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/kv/kv_layout.h"
#include "services/runtime/model/config/shard.h"

namespace tandem {
namespace {

// As much as its memory may be off by: a pool is one block.
constexpr int64_t kPoolBlock = int64_t{2} << 20;
constexpr int kPagesMax = 1 << 24;
// Many pages are whole hundreds of them: some MB more or less are not what a plan can know.
constexpr int kPagesRound = 100;

struct Range {
  const char* field;
  int64_t value;
  int64_t max;
};

absl::Status CheckRange(const Range& range) {
  if (range.value >= 1 && range.value <= range.max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("plan: ", range.field, " must be from 1 to ", range.max, ", got ", range.value));
}

// Everything of a model that no rank shares with another.
int64_t Replicated(const WeightSizes& part, const WeightSizes& whole, int ranks) {
  return ranks == 1 ? 0 : (part.total() * ranks - whole.total()) / (ranks - 1);
}

std::string Gigabytes(int64_t bytes) {
  return absl::StrFormat("%.1f GB", static_cast<double>(bytes) / 1e9);
}

// Pages beside `slots` slots in `bytes`; 0 if there is no room for one.
absl::StatusOr<int> PagesIn(const ModelConfig& config, int slots, int64_t bytes) {
  ASSIGN_OR_RETURN(const KvLayout one, KvLayout::Create(config, {.pages = 1, .slots = slots}));
  const auto page = static_cast<int64_t>(one.page_bytes());
  const int64_t room = bytes - kPoolBlock - static_cast<int64_t>(one.bytes()) + page;
  const int64_t pages = std::clamp<int64_t>(room / page, 0, kPagesMax);
  return static_cast<int>(pages < kPagesRound ? pages : pages / kPagesRound * kPagesRound);
}

class Planner {
 public:
  Planner(const ModelConfig& config, const PlanRequest& request)
      : config_(config), request_(request) {}

  absl::StatusOr<MachinePlan> Plan() {
    MachinePlan out{.weights = SizesOf(config_)};
    ASSIGN_OR_RETURN(const KvLayout layout, KvLayout::Create(config_, {.pages = 1, .slots = 1}));
    out.page_bytes = static_cast<int64_t>(layout.page_bytes());
    out.slot_bytes = static_cast<int64_t>(layout.slot_bytes());
    out.sequence_bytes = ContextPages() * out.page_bytes + out.slot_bytes;
    for (int ranks = 1; ranks <= std::min(request_.gpus, 8); ranks *= 2) {
      for (const bool prefill : {false, true}) {
        ASSIGN_OR_RETURN(WorkerPlan plan, Worker(ranks, prefill, out.weights));
        out.workers.push_back(std::move(plan));
      }
    }
    out.chosen = Choose(out.workers);
    return out;
  }

 private:
  int ContextPages() const { return KvLayout::PagesFor(request_.context); }

  absl::StatusOr<WorkerPlan> Worker(int ranks, bool prefill, const WeightSizes& whole) const {
    WorkerPlan out{.ranks = ranks, .prefill = prefill, .slots = request_.sequences};
    const absl::StatusOr<ModelConfig> part = ShardConfig(config_, {.ranks = ranks});
    if (!part.ok()) {
      out.why = std::string(part.status().message());
      return out;
    }
    out.replicated = Replicated(SizesOf(*part), whole, ranks);
    ASSIGN_OR_RETURN(const WorkerBytes decode, BytesOf(config_, Size(ranks, request_.batch_max)));
    // Rows that are not written in place need staging memory for the longest prompt. Rows that are
    // need none; what a prefill worker has by default serves after a downgrade.
    WorkerSize reader = Size(ranks, request_.chunk_tokens);
    reader.pool = {.pages = prefill ? request_.staging_pages : ContextPages(),
                   .slots = request_.staging_slots};
    ASSIGN_OR_RETURN(const WorkerBytes beside, BytesOf(config_, reader));
    out.weights = decode.weights;
    out.working = decode.working;
    out.reserve = decode.reserve;
    out.staging_pages = reader.pool.pages;
    out.staging = beside.pool;
    if (prefill) {
      out.working += beside.working;
      out.reserve += beside.reserve;
    }
    if (!prefill) out.reader = beside.total();
    out.pool =
        request_.gpu_bytes - out.weights - out.working - out.reserve - (prefill ? out.staging : 0);
    return Fill(std::move(out));
  }

  // Working memory for the model's longest sequence, whatever is asked for: it is little, and a
  // worker whose config names no context_tokens_max takes it.
  WorkerSize Size(int ranks, int tokens) const {
    return {.ranks = ranks, .tokens_per_step = tokens, .context = config_.max_position_embeddings};
  }

  absl::StatusOr<WorkerPlan> Fill(WorkerPlan out) const {
    if (out.pool <= 0) {
      out.why = absl::StrCat(
          out.prefill ? "weights, working memory and staging" : "weights and working memory",
          " are ", Gigabytes(request_.gpu_bytes - out.pool), " of ", Gigabytes(request_.gpu_bytes));
      return out;
    }
    ASSIGN_OR_RETURN(out.pages, PagesIn(config_, out.slots, out.pool));
    if (out.pages == 0) {
      out.why = absl::StrCat(out.slots, " slots do not fit in ", Gigabytes(out.pool));
      return out;
    }
    out.at_once = static_cast<int>(std::min<int64_t>(out.slots, out.pages / ContextPages()));
    return out;
  }

  // Whether a prefill worker of as many ranks has GPUs of its own, and fits on them.
  bool Apart(const WorkerPlan& worker) const {
    return 2 * worker.ranks <= request_.gpus && worker.reader <= request_.gpu_bytes;
  }

  int Choose(const std::vector<WorkerPlan>& workers) const {
    for (size_t i = 0; i + 1 < workers.size(); i += 2) {
      // One that decodes alone, then the same with prefill beside it.
      const size_t best = Apart(workers[i]) ? i : i + 1;
      if (workers[best].at_once > 0) return static_cast<int>(best);
    }
    return -1;
  }

  const ModelConfig& config_;
  const PlanRequest& request_;
};

}  // namespace

absl::StatusOr<MachinePlan> PlanMachine(const ModelConfig& config, const PlanRequest& request) {
  RETURN_IF_ERROR(CheckRange({"gpus", request.gpus, 1024}));
  RETURN_IF_ERROR(CheckRange({"gpu memory in bytes", request.gpu_bytes, int64_t{1} << 48}));
  RETURN_IF_ERROR(CheckRange({"context", request.context, config.max_position_embeddings}));
  RETURN_IF_ERROR(CheckRange({"sequences", request.sequences, 1 << 16}));
  RETURN_IF_ERROR(CheckRange({"batch_max", request.batch_max, 1 << 16}));
  RETURN_IF_ERROR(CheckRange({"chunk_tokens", request.chunk_tokens, 1 << 16}));
  RETURN_IF_ERROR(CheckRange({"staging_pages", request.staging_pages, 1 << 24}));
  RETURN_IF_ERROR(CheckRange({"staging_slots", request.staging_slots, 1 << 16}));
  return Planner(config, request).Plan();
}

}  // namespace tandem
