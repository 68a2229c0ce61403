// SPDX-License-Identifier: Apache-2.0
// Every series of Tandem's own: name, help, owner, bounds; vllm_series.h has their aliases. Nothing
// else names one; dashboards and alerts are checked against these lists. Labels role and model_name
// stand on all of them. A series has one owner, so that sums over processes are right: where both
// kinds of workers own one, each counts its own work.
#pragma once

#include <span>

namespace tandem::series {

enum class Owner { kRouter, kPrefill, kDecode, kWorkers, kAll };

struct Series {
  const char* name;
  const char* help;
  Owner owner;
};

// Seconds.
inline constexpr double kTtftBounds[] = {.005, .01, .02, .03, .05, .075, .1,  .15,
                                         .2,   .3,  .5,  .75, 1,   1.5,  2.5, 5,
                                         7.5,  10,  20,  40,  80,  160,  640, 2560};
inline constexpr double kTokenBounds[] = {.001,  .002, .003, .004, .005, .006, .008, .01,
                                          .0125, .015, .02,  .025, .03,  .04,  .05,  .075,
                                          .1,    .15,  .2,   .3,   .5,   1,    2.5,  5};
inline constexpr double kStageBounds[] = {.0001, .00025, .0005, .001, .0025, .005, .01,
                                          .025,  .05,    .1,    .25,  .5,    1,    2.5,
                                          5,     10,     25,    60,   120,   600};
inline constexpr double kTransferBounds[] = {.0001, .00025, .0005, .001, .0025, .005, .01, .025,
                                             .05,   .1,     .25,   .5,   1,     2.5,  5};
// Copies, or runs of bytes.
inline constexpr double kDescriptorBounds[] = {1,   4,    16,   64,    128,   256,
                                               512, 1024, 4096, 16384, 65536, 262144};
// Bytes.
inline constexpr double kBytesBounds[] = {1 << 16, 1 << 18, 1 << 20, 1 << 22,
                                          1 << 24, 1 << 26, 1 << 28, 1 << 30};
// Bytes a second.
inline constexpr double kThroughputBounds[] = {1e8,  3e8,  1e9,  3e9,  1e10,  3e10,
                                               1e11, 2e11, 4e11, 8e11, 1.6e12};
// Sequences.
inline constexpr double kBatchBounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
// Tokens.
inline constexpr double kTokenCountBounds[] = {
    1,    2,    4,    8,     16,    32,    64,     128,    256,    512,    1024,
    2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576};

// Router.
inline constexpr Series kRequests = {"tandem_requests_total",
                                     "Requests ended, by outcome (stop, length, tool_calls, "
                                     "cancelled, deadline, rejected, error), gRPC code and tenant "
                                     "(name of the API key; the first 128, then other)",
                                     Owner::kRouter};
inline constexpr Series kGoodput = {
    "tandem_goodput_requests_total",
    "Choices that kept to a limit of the config's slo (ttft, tpot, e2e)", Owner::kRouter};
inline constexpr Series kSloViolations = {
    "tandem_slo_violations_total",
    "Choices that did not keep to a limit of the config's slo (ttft, tpot, e2e)", Owner::kRouter};
inline constexpr Series kRequestsInflight = {"tandem_requests_inflight",
                                             "Choices running, by stage (reserve, prefill, decode)",
                                             Owner::kRouter};
inline constexpr Series kTtft = {"tandem_request_ttft_seconds",
                                 "From a request's arrival to its first token", Owner::kRouter};
inline constexpr Series kTpot = {"tandem_request_tpot_seconds",
                                 "Time per token after the first, one sample a choice",
                                 Owner::kRouter};
inline constexpr Series kE2e = {"tandem_request_e2e_seconds", "From a request's arrival to its end",
                                Owner::kRouter};
inline constexpr Series kStreamChunkGap = {"tandem_stream_chunk_gap_seconds",
                                           "Between two deltas of a choice", Owner::kRouter};
inline constexpr Series kAdmissionRejected = {
    "tandem_admission_rejected_total",
    "Requests refused before a token of them was read, by reason, whichever process refused",
    Owner::kRouter};
inline constexpr Series kRetries = {
    "tandem_retries_total",
    "What was begun again in another place, by stage (reserve: the decode worker drains; prefill: "
    "the prompt's worker drains or is lost) and result (ok, failed)",
    Owner::kRouter};
inline constexpr Series kToolCallParsed = {"tandem_tool_call_parsed_total",
                                           "Tool calls of answers, written as the format has it",
                                           Owner::kRouter};
inline constexpr Series kToolCallRepaired = {
    "tandem_tool_call_repaired_total",
    "Tool calls that stood where none may (inside the reasoning, in a second block, without a "
    "block or the blank line before it) and were taken all the same",
    Owner::kRouter};
inline constexpr Series kToolCallMalformed = {
    "tandem_tool_call_malformed_total",
    "Blocks of tool calls that broke the format, or whose answer ended before they did: what came "
    "after is lost",
    Owner::kRouter};
inline constexpr Series kPromptLength = {
    "tandem_request_prompt_tokens", "Tokens of a prompt, one sample a request", Owner::kRouter};
inline constexpr Series kAnswerLength = {
    "tandem_request_generation_tokens", "Tokens of an answer, one sample a choice", Owner::kRouter};
inline constexpr Series kStreamBackpressure = {
    "tandem_stream_backpressure_seconds_total",
    "Time for which answers were ready and their clients had not taken what was sent before",
    Owner::kRouter};
inline constexpr Series kSlowReaderAborts = {
    "tandem_slow_reader_aborts_total",
    "Streams that were ended because their client did not read them", Owner::kRouter};
inline constexpr Series kWorkersUp = {
    "tandem_workers_up",
    "Workers that take requests now, as the router sees them, by kind (prefill, decode)",
    Owner::kRouter};
inline constexpr Series kWorkersRegistered = {
    "tandem_workers_registered", "Workers that have registered, by kind (prefill, decode)",
    Owner::kRouter};
inline constexpr Series kWorkerBeats = {
    "tandem_worker_beats_total",
    "Beats of registering workers by outcome: accepted, refused (a version or format that fits "
    "nobody's), missed",
    Owner::kRouter};

// Workers.
inline constexpr Series kTokens = {
    "tandem_tokens_total",
    "Tokens by kind: prompt_computed (prefill), generated (each worker the ones it sampled), "
    "wasted (decode: of the generated, those whose reader was gone by then)",
    Owner::kWorkers};
inline constexpr Series kThroughput = {
    "tandem_throughput_tokens_per_second",
    "Tokens a second over the last second or so, by kind; for eyes, alerts use rate()",
    Owner::kWorkers};
inline constexpr Series kBatchSize = {"tandem_batch_size", "Sequences of a step", Owner::kWorkers};
inline constexpr Series kStepTokens = {
    "tandem_step_tokens", "Tokens that a step reads (prefill) or writes (decode)", Owner::kWorkers};
inline constexpr Series kStep = {"tandem_step_seconds",
                                 "One engine step, by phase (prefill, decode)", Owner::kWorkers};
inline constexpr Series kLastStepAge = {
    "tandem_engine_last_step_age_seconds",
    "Since the last step began while there is work; 0 when idle", Owner::kWorkers};
inline constexpr Series kGraphSteps = {
    "tandem_cuda_graph_steps_total",
    "Decode steps by hit: true = replayed as a CUDA graph; on a CPU none is", Owner::kDecode};
inline constexpr Series kStepLaunches = {
    "tandem_step_launches",
    "Kernels of the last decode step that was replayed as a CUDA graph, by batch (at most 1, 2, 4 "
    "... sequences)",
    Owner::kDecode};
inline constexpr Series kInterTokenGap = {"tandem_inter_token_gap_seconds",
                                          "Between two tokens of a sequence", Owner::kDecode};
inline constexpr Series kKvBlocks = {
    "tandem_kv_blocks",
    "Pages of 256 tokens by state (free, leased_out, receiving, active, quarantined); their sum is "
    "the pool",
    Owner::kDecode};
inline constexpr Series kKvBytes = {
    "tandem_kv_bytes", "Bytes of the pool by what they hold (compressed, indexer, window, states)",
    Owner::kDecode};
inline constexpr Series kKvUsage = {
    "tandem_kv_cache_usage_ratio",
    "Share of pages that are not free: of the pool (decode), of what prompts that travel as bytes "
    "wait in (prefill)",
    Owner::kWorkers};
inline constexpr Series kKvLeases = {
    "tandem_kv_leases", "Reservations by state (granted, writing, filled, committed, quarantined)",
    Owner::kDecode};
inline constexpr Series kKvLeaseExpired = {
    "tandem_kv_lease_expired_total", "Reservations that were never committed", Owner::kDecode};
inline constexpr Series kKvQuarantine = {
    "tandem_kv_quarantine_seconds",
    "For how long memory has been in quarantine without a break; 0 when none is", Owner::kDecode};
inline constexpr Series kKvTransfer = {
    "tandem_kv_transfer_seconds",
    "Hand-off of one prompt's rows, by transport (shared, ipc, nccl, grpc) and direction",
    Owner::kPrefill};
inline constexpr Series kKvTransferBytes = {"tandem_kv_transfer_bytes",
                                            "Bytes of one hand-off, by transport and direction",
                                            Owner::kPrefill};
inline constexpr Series kKvTransferDescriptors = {
    "tandem_kv_transfer_descriptors",
    "Copies (ipc) or runs of bytes (nccl, grpc) of one hand-off once neighbours are joined, by "
    "transport and direction; in place there are none",
    Owner::kPrefill};
inline constexpr Series kKvTransferThroughput = {
    "tandem_kv_transfer_throughput_bytes_per_second",
    "Bytes of one hand-off over the time in which some were under way, hidden behind prefill or "
    "not, by transport and direction; in place there are none",
    Owner::kPrefill};
inline constexpr Series kKvTransferExposed = {
    "tandem_kv_transfer_exposed_seconds", "Part of a hand-off that is not hidden behind prefill",
    Owner::kPrefill};
inline constexpr Series kKvTransferFailures = {
    "tandem_kv_transfer_failures_total",
    "Hand-offs that failed, by reason (timeout, peer_gone, layout, lease_expired), and links that "
    "took a slower way than asked for (reason downgrade), by that way (transport: ipc, nccl, grpc)",
    Owner::kPrefill};
inline constexpr Series kQueueOldestAge = {
    "tandem_queue_oldest_age_seconds", "How long the first entry of a queue has waited, by queue",
    Owner::kPrefill};
inline constexpr Series kQueueCost = {
    "tandem_queue_cost_tokens", "Prompt tokens that wait in a queue, by queue", Owner::kPrefill};
inline constexpr Series kTransportInfo = {
    "tandem_transport_info", "Links that stand, by transport: a silent fallback shows here",
    Owner::kWorkers};

inline constexpr Series kPeerLink = {
    "tandem_peer_link_state",
    "Link to a decode worker, by peer (the first 128, then other) and transport: 0 = lost, 1 = "
    "stands, 2 = stands with a slower transport than asked for",
    Owner::kPrefill};

// All, or each a part.
// A stage belongs to the process that measures it (README.md).
inline constexpr Series kStage = {
    "tandem_stage_seconds",
    "Time by stage. Router, one after another: template, tokenize, route, reserve, prefill_queue, "
    "prefill, kv_transfer, decode (a choice), send (a request). Inside of those: detokenize "
    "(router, of decode), kv_alloc_wait (prefill worker, of prefill_queue), decode_queue and "
    "first_decode_step (decode worker, of decode)",
    Owner::kAll};
inline constexpr Series kQueueDepth = {
    "tandem_queue_depth",
    "Entries of a bounded queue, by queue: requests (router: admitted, not ended); waiting and "
    "running (workers: before and from the first step on); handing (prefill: read, rows on their "
    "way)",
    Owner::kAll};
inline constexpr Series kConfigInfo = {
    "tandem_config_info", "Always 1; label hash, of the effective configuration", Owner::kAll};
inline constexpr Series kBuildInfo = {"tandem_build_info", "Always 1; label version", Owner::kAll};

}  // namespace tandem::series
