// SPDX-License-Identifier: Apache-2.0
// The vLLM aliases: series under vLLM's own names, with its labels (model_name, engine) and exactly
// its bounds, so that dashboards and autoscalers made for vLLM read Tandem, and a sum by (le) over
// both is right. Shown where metrics_compat is VLLM. A name has one owner, so that a sum over the
// processes counts a request once; what both kinds of workers own is the state of each. What is
// always 0 here, preemptions and a prefix cache's hits, is shown as vLLM shows it with those off;
// there is no alias of speculation and adapters.
#pragma once

#include <span>
#include <vector>

#include "services/runtime/metrics/series.h"

namespace tandem::series::vllm {

// Seconds.
inline constexpr double kTtftBounds[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                         1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
inline constexpr double kTokenBounds[] = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                                          .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
inline constexpr double kRequestBounds[] = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                            30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
// Tokens of a step; completions of a request.
inline constexpr double kIterationBounds[] = {1,   8,    16,   32,   64,   128,  256,
                                              512, 1024, 2048, 4096, 8192, 16384};
inline constexpr double kChoicesBounds[] = {1, 2, 5, 10, 20};
// Tokens of a request: 1, 2, 5, 10, 20, 50 … as far as the model's length.
inline std::vector<double> TokenCountBounds(double tokens_max) {
  std::vector<double> bounds;
  for (double decade = 1;; decade *= 10) {
    for (const double step : {1, 2, 5}) {
      if (step * decade > tokens_max) return bounds;
      bounds.push_back(step * decade);
    }
  }
}

// Router.
inline constexpr Series kTtft = {"vllm:time_to_first_token_seconds",
                                 "As tandem_request_ttft_seconds", Owner::kRouter};
inline constexpr Series kTpot = {"vllm:request_time_per_output_token_seconds",
                                 "As tandem_request_tpot_seconds", Owner::kRouter};
inline constexpr Series kE2e = {"vllm:e2e_request_latency_seconds", "As tandem_request_e2e_seconds",
                                Owner::kRouter};
inline constexpr Series kQueueTime = {
    "vllm:request_queue_time_seconds",
    "Stages reserve, prefill_queue and decode_queue of tandem_stage_seconds", Owner::kRouter};
inline constexpr Series kInferenceTime = {
    "vllm:request_inference_time_seconds",
    "Stages prefill, kv_transfer and decode of tandem_stage_seconds, less decode_queue",
    Owner::kRouter};
inline constexpr Series kRequestSuccess = {
    "vllm:request_success_total",
    "As tandem_requests_total, by finished_reason (stop, length, abort, error), less what was "
    "rejected",
    Owner::kRouter};
inline constexpr Series kPromptLength = {"vllm:request_prompt_tokens",
                                         "As tandem_request_prompt_tokens", Owner::kRouter};
inline constexpr Series kAnswerLength = {"vllm:request_generation_tokens",
                                         "As tandem_request_generation_tokens", Owner::kRouter};
inline constexpr Series kParamsN = {"vllm:request_params_n", "Completions that a request asks for",
                                    Owner::kRouter};
inline constexpr Series kParamsMaxTokens = {"vllm:request_params_max_tokens",
                                            "max_tokens of a request, its default included",
                                            Owner::kRouter};

// Prefill.
inline constexpr Series kPromptTokens = {"vllm:prompt_tokens_total",
                                         "As tandem_tokens_total{kind=\"prompt_computed\"}",
                                         Owner::kPrefill};
inline constexpr Series kPromptTokensBySource = {
    "vllm:prompt_tokens_by_source_total",
    "As tandem_tokens_total{kind=\"prompt_computed\"}; source is local_compute", Owner::kPrefill};
inline constexpr Series kPrefillTime = {"vllm:request_prefill_time_seconds",
                                        "From a prompt's first chunk to its first token",
                                        Owner::kPrefill};

inline constexpr Series kPromptTokensCached = {
    "vllm:prompt_tokens_cached_total", "Always 0: no prefix is used again", Owner::kPrefill};
inline constexpr Series kPrefixQueries = {"vllm:prefix_cache_queries_total",
                                          "Always 0: there is no prefix cache", Owner::kPrefill};
inline constexpr Series kPrefixHits = {"vllm:prefix_cache_hits_total",
                                       "Always 0: there is no prefix cache", Owner::kPrefill};

// Decode.
inline constexpr Series kExternalQueries = {
    "vllm:external_prefix_cache_queries_total",
    "Prompt tokens of answers that started here, whose KV a prefill worker computed",
    Owner::kDecode};
inline constexpr Series kExternalHits = {
    "vllm:external_prefix_cache_hits_total",
    "As the queries: an answer starts only with all of its KV here", Owner::kDecode};
inline constexpr Series kGenerationTokens = {
    "vllm:generation_tokens_total",
    "Tokens of answers that reached a decode worker, the first one, which prefill drew, included",
    Owner::kDecode};
inline constexpr Series kInterTokenLatency = {"vllm:inter_token_latency_seconds",
                                              "As tandem_inter_token_gap_seconds", Owner::kDecode};
inline constexpr Series kDecodeTime = {"vllm:request_decode_time_seconds",
                                       "From a sequence's start to its last token", Owner::kDecode};
inline constexpr Series kIterationTokens = {"vllm:iteration_tokens_total",
                                            "As tandem_step_tokens of decode", Owner::kDecode};

// Workers, each its own state.
inline constexpr Series kRunning = {"vllm:num_requests_running",
                                    "As tandem_queue_depth{queue=\"running\"}", Owner::kWorkers};
inline constexpr Series kWaiting = {"vllm:num_requests_waiting",
                                    "As tandem_queue_depth{queue=\"waiting\"}", Owner::kWorkers};
inline constexpr Series kKvUsage = {"vllm:kv_cache_usage_perc",
                                    "As tandem_kv_cache_usage_ratio: 0 to 1", Owner::kWorkers};
inline constexpr Series kPreemptions = {"vllm:num_preemptions_total",
                                        "Always 0: memory is reserved for a whole answer",
                                        Owner::kWorkers};
inline constexpr Series kCacheConfig = {"vllm:cache_config_info",
                                        "Always 1; labels block_size (tokens) and num_gpu_blocks",
                                        Owner::kWorkers};

// Names that vLLM has given up, with METRICS_COMPAT_VLLM_LEGACY alone.
inline constexpr Series kLegacyTokenTime = {"vllm:time_per_output_token_seconds",
                                            "As vllm:inter_token_latency_seconds", Owner::kDecode};
inline constexpr Series kLegacyKvUsage = {"vllm:gpu_cache_usage_perc",
                                          "As vllm:kv_cache_usage_perc", Owner::kWorkers};

}  // namespace tandem::series::vllm
