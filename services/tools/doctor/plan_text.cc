// SPDX-License-Identifier: Apache-2.0
#include "services/tools/doctor/plan_text.h"

#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "services/tools/doctor/finding.h"
#include "services/tools/text/number_text.h"

namespace tandem {
namespace {

constexpr char kRow[] = "%-17s %7s %10s %7s %7s %6s %6s %9s %12s %7s\n";

std::string Gigabytes(int64_t bytes) {
  return absl::StrFormat("%.1f", static_cast<double>(bytes) / 1e9);
}

std::string Size(int64_t bytes) {
  return Amount(static_cast<double>(bytes));
}

std::string Model(const PlanText& text) {
  const WeightSizes& w = text.plan.weights;
  std::string out = absl::StrFormat(
      "model      %d layers, hidden size %d, %d experts\n"
      "weights    %s in the checkpoint: experts %s, shared experts %s, attention %s,\n"
      "           compressors %s, indexer %s, embedding and head %s, rest %s\n",
      text.config.num_hidden_layers, text.config.hidden_size, text.config.n_routed_experts,
      Size(w.checkpoint), Size(w.experts), Size(w.shared), Size(w.attention), Size(w.compressor),
      Size(w.indexer), Size(w.vocabulary), Size(w.rest));
  absl::StrAppendFormat(
      &out, "cache      page of 256 tokens %s B (%s B a token), slot %s B on each GPU\n",
      CountText(text.plan.page_bytes), CountText((text.plan.page_bytes + 255) / 256),
      CountText(text.plan.slot_bytes));
  absl::StrAppendFormat(
      &out, "sequence   of %s tokens: %s pages and a slot, %s\n", CountText(text.request.context),
      CountText((text.request.context + 255) / 256), Size(text.plan.sequence_bytes));
  return out;
}

std::string Row(const WorkerPlan& worker) {
  const std::string who =
      absl::StrCat(worker.ranks, worker.prefill ? " decode+prefill" : " decode");
  if (!worker.fits()) return absl::StrFormat("%-17s does not fit: %s\n", who, worker.why);
  return absl::StrFormat(kRow, who, Gigabytes(worker.weights), Gigabytes(worker.replicated),
                         Gigabytes(worker.working + worker.reserve),
                         Gigabytes(worker.prefill ? worker.staging : 0), Gigabytes(worker.pool),
                         CountText(worker.slots), CountText(worker.pages),
                         CountText(int64_t{worker.pages} * 256), CountText(worker.at_once));
}

// As many GPUs as the worker has, from `first` on.
std::string Gpus(const WorkerPlan& worker, int first, const char* separator) {
  std::vector<int> gpus(static_cast<size_t>(worker.ranks));
  std::iota(gpus.begin(), gpus.end(), first);
  return absl::StrJoin(gpus, separator);
}

// The part of either worker's config that is in `worker`, less addresses and model.
std::string Common(const PlanText& text, const WorkerPlan& worker, int first) {
  return absl::StrFormat(
      "worker { device: DEVICE_CUDA tensor_parallel: %d gpus: [%s]\n"
      "                    context_tokens_max: %d%s }",
      worker.ranks, Gpus(worker, first, ", "), text.request.context,
      worker.prefill ? " weights: WEIGHTS_SHARED" : "");
}

// The same as processes on this machine.
std::string Start(const PlanText& text, const WorkerPlan& worker, const std::string& channel) {
  const int reads = worker.prefill ? 0 : worker.ranks;
  std::string out = absl::StrFormat(
      "start      deploy/scripts/local.sh up --model %s --device cuda \\\n"
      "             --decode-gpus %s --prefill-gpus %s \\\n"
      "             --pages %d --slots %d",
      text.model, Gpus(worker, 0, ","), Gpus(worker, reads, ","), worker.pages, worker.slots);
  if (!worker.prefill) {
    absl::StrAppendFormat(&out, " \\\n             --prefill-config \"%s\"", channel);
  }
  return out + "\n";
}

std::string Chosen(const PlanText& text) {
  if (text.plan.chosen < 0) {
    return absl::StrFormat("no two workers, prefill and decode, fit on %d GPUs of %s\n",
                           text.request.gpus, Size(text.request.gpu_bytes));
  }
  const WorkerPlan& worker = text.plan.workers[static_cast<size_t>(text.plan.chosen)];
  const std::string channel =
      worker.prefill ? "kv_channel_kind: KV_CHANNEL_KIND_SHARED"
                     : absl::StrCat("kv_channel_kind: KV_CHANNEL_KIND_IPC staging_pages: ",
                                    worker.staging_pages);
  return absl::StrFormat(
             "chosen     %d GPUs a worker, the fewest that hold the weights and a sequence;\n"
             "           %s\n"
             "decode     %s\n"
             "           pages: %d slots: %d\n"
             "prefill    %s\n"
             "           chunk_tokens: %d %s\n",
             worker.ranks,
             worker.prefill
                 ? "prefill on the same ones, one copy of the weights for both"
                 : absl::StrFormat("prefill on %d others: %s on each, %s of it staging",
                                   worker.ranks, Size(worker.reader), Size(worker.staging)),
             Common(text, worker, 0), worker.pages, worker.slots,
             Common(text, worker, worker.prefill ? 0 : worker.ranks), text.request.chunk_tokens,
             channel) +
         Start(text, worker, channel);
}

}  // namespace

std::string TextOf(const PlanText& text) {
  std::string out = Model(text);
  absl::StrAppendFormat(&out, "\n%d GPUs of %s, %s sequences, %s tokens each; GB on each GPU:\n",
                        text.request.gpus, Size(text.request.gpu_bytes),
                        CountText(text.request.sequences), CountText(text.request.context));
  absl::StrAppendFormat(&out, kRow, "GPUs a worker", "weights", "replicated", "working", "staging",
                        "pool", "slots", "pages", "tokens", "at once");
  for (const WorkerPlan& worker : text.plan.workers) out += Row(worker);
  return absl::StrCat(out, "\n", Chosen(text));
}

}  // namespace tandem
