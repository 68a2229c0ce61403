#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the dashboards of this folder; --check says which of them would change (exit code 1)."""
import json
import os
import sys

from panels import dashboard, panel, query, share, variable

HERE = os.path.dirname(os.path.abspath(__file__))
TAIL = (0.5, 0.9, 0.99)
# Stages that are parts of other stages.
INNER = "kv_alloc_wait|decode_queue|first_decode_step|detokenize"


def headline():
    return [
        panel("Requests", "Requests that ended, a second, whatever their outcome.",
              [query("sum(rate(tandem_requests_total{MODEL}[RATE]))")],
              unit="reqps", kind="stat", width=4, height=4),
        panel("Tokens out", "Tokens sampled a second by all workers.",
              [query('sum(rate(tandem_tokens_total{MODEL, kind="generated"}[RATE]))')],
              unit="short", kind="stat", width=4, height=4),
        panel("TTFT p99", "From arrival to the first token, queueing included.",
              share("tandem_request_ttft_seconds", (0.99,)),
              unit="s", kind="stat", width=4, height=4, warn=1, alarm=2.5),
        panel("TPOT p99", "Time a token after the first one, a sample a choice.",
              share("tandem_request_tpot_seconds", (0.99,)),
              unit="s", kind="stat", width=4, height=4, warn=0.05, alarm=0.2),
        panel("Errors", "Share of requests that ended with an error of ours; refusals and "
              "cancelled requests are none, and refusals do not count as requests.",
              [query('sum(rate(tandem_requests_total{MODEL, outcome="error"}[RATE])) / '
                     'sum(rate(tandem_requests_total{MODEL, outcome!="rejected"}[RATE]))')],
              unit="percentunit", kind="stat", width=4, height=4, warn=0.01, alarm=0.05),
        panel("Workers", "Workers that take requests, as the routers see them: the fewest of both "
              "kinds. None: every request is refused.",
              [query("min(tandem_workers_up{MODEL})")],
              unit="short", kind="stat", width=4, height=4, warn=1, alarm=0.5),
    ]


def mean_by_stage(which):
    total, count = (f"sum by (stage) (rate(tandem_stage_seconds_{part}{{MODEL, {which}}}[RATE]))"
                    for part in ("sum", "count"))
    return [query(f"{total} / {count}", "{{stage}}")]


def overview():
    return dashboard("tandem-overview", "Tandem / Overview", "Where requests are.", [
        *headline(),
        panel("Tokens by kind", "prompt_computed: read by prefill; generated: sampled by either.",
              [query("sum by (kind) (rate(tandem_tokens_total{MODEL}[RATE]))", "{{kind}}")],
              unit="short"),
        panel("Requests in flight", "Choices by the stage that they are in.",
              [query("sum by (stage) (tandem_requests_inflight{MODEL})", "{{stage}}")],
              unit="short", stack=True),
        panel("Queues", "What waits or runs, by process kind and queue. requests: admitted by a "
              "router; waiting: no step yet; handing: read by prefill, rows on their way.",
              [query("sum by (role, queue) (tandem_queue_depth{MODEL})", "{{role}} {{queue}}")],
              unit="short"),
        panel("Mean time by stage", "One after another: their sum is the mean request, and the "
              "tallest is where to look.", mean_by_stage(f'stage!~"{INNER}"'), unit="s",
              stack=True),
        panel("Inside of stages", "Means. kv_alloc_wait: of prefill_queue, for pages of the "
              "prefill worker's own; decode_queue: of decode, for a turn in a step; "
              "first_decode_step: that step; detokenize: of decode, all of an answer's tokens.",
              mean_by_stage(f'stage=~"{INNER}"'), unit="s"),
        panel("p99 by stage", "The slowest hundredth of each stage.",
              share("tandem_stage_seconds", (0.99,), by="stage", legend="{{stage}} "), unit="s"),
        panel("Oldest waiting prompt", "The best sign of overload: grows as long as more comes in "
              "than prefill reads.",
              [query("max by (instance) (tandem_queue_oldest_age_seconds{MODEL})", "{{instance}}")],
              unit="s", warn=5, alarm=30),
        panel("Step time", "One engine step; a decode step is every running answer's next token.",
              share("tandem_step_seconds", (0.5, 0.99), by="phase", legend="{{phase}} "), unit="s"),
        panel("Sequences a step", "Median batch of a step.",
              share("tandem_batch_size", (0.5,), by="role", legend="{{role}} "), unit="short"),
        panel("Launches a step", "Kernels of a decode step that is replayed as a CUDA graph, by "
              "batch.", [query("max by (batch) (tandem_step_launches{MODEL})", "{{batch}}")],
              unit="short"),
        panel("Age of the last step", "0 when idle; one that has work and does not step is stuck.",
              [query("max by (role, instance) (tandem_engine_last_step_age_seconds{MODEL})",
                     "{{role}} {{instance}}")], unit="s", warn=5, alarm=30),
        panel("KV pages in use", "Share of each decode worker's pool. Full: Reserve refuses.",
              [query('max by (instance) (tandem_kv_cache_usage_ratio{MODEL, role="decode"})',
                     "{{instance}}")], unit="percentunit", most=1, warn=0.85, alarm=0.95),
        panel("Versions", "Processes by version: more than one outside of a roll-out is skew.",
              [query("count by (role, version) (tandem_build_info{MODEL})",
                     "{{role}} {{version}}")], unit="short", stack=True),
        panel("Configurations", "Processes by hash of the effective configuration, which each logs "
              "at its start.",
              [query("count by (role, hash) (tandem_config_info{MODEL})", "{{role}} {{hash}}")],
              unit="short", stack=True),
    ])


def requests():
    return dashboard("tandem-requests", "Tandem / Requests", "What clients see.", [
        panel("Outcomes", "stop, length, tool_calls: answered; rejected: bad or too much; error: "
              "ours.", [query("sum by (outcome) (rate(tandem_requests_total{MODEL}[RATE]))",
                              "{{outcome}}")], unit="reqps", stack=True),
        panel("Codes", "gRPC codes of requests that did not end with OK.",
              [query('sum by (code) (rate(tandem_requests_total{MODEL, code!="OK"}[RATE]))',
                     "{{code}}")], unit="reqps", stack=True),
        panel("Refused", "Before a token was read, by reason. QUEUE_FULL and KV_BUDGET: more comes "
              "than fits; the client is told when to try again.",
              [query("sum by (reason) (rate(tandem_admission_rejected_total{MODEL}[RATE]))",
                     "{{reason}}")], unit="reqps", stack=True),
        panel("Time to first token", "From arrival to the first token, queueing included.",
              share("tandem_request_ttft_seconds", TAIL), unit="s", warn=1, alarm=2.5),
        panel("Time per output token", "After the first one, a sample a choice.",
              share("tandem_request_tpot_seconds", TAIL), unit="s", warn=0.05, alarm=0.2),
        panel("End to end", "From arrival to the end of the stream.",
              share("tandem_request_e2e_seconds", TAIL), unit="s"),
        panel("Time to first token, all", "How many requests saw which delay.",
              [query("sum by (le) (increase(tandem_request_ttft_seconds_bucket{MODEL}[RATE]))",
                     "{{le}}")], unit="s", kind="heatmap"),
        panel("Gap between tokens", "As decode writes them, a sample a token.",
              share("tandem_inter_token_gap_seconds", TAIL), unit="s"),
        panel("Gap between deltas", "As the router sends them: stream_interval and slow clients "
              "show here.", share("tandem_stream_chunk_gap_seconds", TAIL), unit="s"),
        panel("In time", "Share of choices whose first token came within 2.5 s: the objective of "
              "alert TandemTtftBurn.",
              [query('sum(rate(tandem_request_ttft_seconds_bucket{MODEL, le="2.5"}[RATE])) / '
                     "sum(rate(tandem_request_ttft_seconds_count{MODEL}[RATE]))")],
              unit="percentunit", most=1, warn=0.99, alarm=0.95),
        panel("Prompt lengths", "Tokens of a prompt.",
              share("tandem_request_prompt_tokens", (0.5, 0.99)), unit="short"),
        panel("Answer lengths", "Tokens of an answer.",
              share("tandem_request_generation_tokens", (0.5, 0.99)), unit="short"),
        panel("Slow readers", "Streams ended because their client did not read.",
              [query("sum by (instance) (rate(tandem_slow_reader_aborts_total{MODEL}[RATE]))",
                     "{{instance}}")], unit="reqps", warn=0.1),
        panel("Waiting for clients", "Seconds a second for which answers were ready and their "
              "clients had not taken what was sent before; one a stream at most.",
              [query("sum by (instance) (rate(tandem_stream_backpressure_seconds_total{MODEL}"
                     "[RATE]))", "{{instance}}")], unit="short"),
        panel("Tool calls", "parsed: as the format has them; repaired: out of place, and taken; "
              "malformed: blocks that broke the format or were cut off.",
              [query(f"sum(rate(tandem_tool_call_{what}_total{{MODEL}}[RATE]))", what)
               for what in ("parsed", "repaired", "malformed")], unit="ops"),
        panel("Retries", "Asked again of another worker because one drains.",
              [query("sum by (stage, result) (rate(tandem_retries_total{MODEL}[RATE]))",
                     "{{stage}} {{result}}")], unit="ops"),
        panel("Before Reserve p99", "On the router: rendering a chat (template), tokenising, "
              "choosing workers (route).",
              share("tandem_stage_seconds", (0.99,), by="stage", legend="{{stage}} ",
                    labels='MODEL, stage=~"template|tokenize|route"'), unit="s"),
        panel("Reserve p99", "Asking a decode worker for memory: it answers between two steps.",
              share("tandem_stage_seconds", (0.99,), labels='MODEL, stage="reserve"'), unit="s"),
    ])


def kv_handoff():
    return dashboard("tandem-kv", "Tandem / KV and hand-off",
                     "The decode workers' pools, and how prompts get into them.", [
        panel("Pages by state", "Of 256 tokens; their sum is the pools. leased_out: reserved, not "
              "yet an answer; receiving: prefill writes; quarantined: a writer may still write.",
              [query("sum by (state) (tandem_kv_blocks{MODEL})", "{{state}}")],
              unit="short", stack=True),
        panel("Use of each pool", "Reserve refuses with KV_BUDGET when a prompt and its whole "
              "answer do not fit.",
              [query('max by (instance) (tandem_kv_cache_usage_ratio{MODEL, role="decode"})',
                     "{{instance}}")], unit="percentunit", most=1, warn=0.85, alarm=0.95),
        panel("Leases by state", "granted → writing → filled → committed. granted and filled "
              "expire after lease_ttl; writing lasts as long as its writer lives.",
              [query("sum by (state) (tandem_kv_leases{MODEL})", "{{state}}")],
              unit="short", stack=True),
        panel("Expired leases", "Reservations that nobody took up within lease_ttl, a second, "
              "before their prompt arrived or after it was read: a router or a prefill worker "
              "died, or a link takes longer to stand.",
              [query("sum by (instance) (rate(tandem_kv_lease_expired_total{MODEL}[RATE]))",
                     "{{instance}}")], unit="ops", warn=0.1, alarm=1),
        panel("Quarantined pages", "Taken back from a writer that has not said that it stopped.",
              [query('sum by (instance) (tandem_kv_blocks{MODEL, state="quarantined"})',
                     "{{instance}}")], unit="short", warn=1),
        panel("Time in quarantine", "For how long there has been such a page without a break: a "
              "writer that hangs, or whose process is gone and not noticed.",
              [query("max by (instance) (tandem_kv_quarantine_seconds{MODEL})", "{{instance}}")],
              unit="s", warn=10, alarm=600),
        panel("Links to decode workers", "Of each prefill worker: 0 lost, 1 stands, 2 stands with "
              "a slower transport than asked for.",
              [query("max by (instance, peer, transport) (tandem_peer_link_state{MODEL})",
                     "{{instance}} → {{peer}} {{transport}}")], unit="short"),
        panel("Links by transport", "shared: rows are written in place; ipc: they are copied from "
              "GPU to GPU; nccl: they are sent from GPU to GPU; grpc: they are sent as bytes.",
              [query("sum by (role, transport) (tandem_transport_info{MODEL})",
                     "{{role}} {{transport}}")], unit="short"),
        panel("Hand-off time", "From the first token to the decode worker's receipt.",
              share("tandem_kv_transfer_seconds", (0.5, 0.99), by="transport",
                    legend="{{transport}} "), unit="s", warn=0.1, alarm=1),
        panel("Exposed hand-off", "The part that no other work hides: it is added to TTFT.",
              share("tandem_kv_transfer_exposed_seconds", (0.5, 0.99)), unit="s"),
        panel("Hand-off bytes", "0 where rows are written in place.",
              [query("sum by (transport) (rate(tandem_kv_transfer_bytes_sum{MODEL}[RATE]))",
                     "{{transport}}")], unit="Bps"),
        panel("Descriptors of a hand-off", "Copies, or runs of bytes; 0 where rows are written in "
              "place. More for the same bytes: pages that lie apart.",
              share("tandem_kv_transfer_descriptors", (0.5, 0.99), by="transport",
                    legend="{{transport}} "), unit="short"),
        panel("Failed hand-offs", "By reason; downgrade: a link took this transport where a faster "
              "one was asked for. ipc between two GPUs is as good as it gets; grpc is bytes.",
              [query("sum by (reason, transport) (rate(tandem_kv_transfer_failures_total{MODEL}"
                     "[RATE]))", "{{reason}} {{transport}}")], unit="ops", warn=0.1, alarm=1),
        panel("Prompts that wait", "Tokens of prompts without a step yet.",
              [query("sum by (instance) (tandem_queue_cost_tokens{MODEL})", "{{instance}}")],
              unit="short"),
        panel("Staging in use", "Prefill's own pages, for prompts that are not computed in place.",
              [query('max by (instance) (tandem_kv_cache_usage_ratio{MODEL, role="prefill"})',
                     "{{instance}}")], unit="percentunit", most=1, warn=0.9),
    ])


def gpus():
    where = 'Hostname=~"$Hostname"'

    def each(title, description, name, scale="", **look):
        expr = f"avg by (Hostname, gpu) ({name}{{{where}}}){scale}"
        return panel(title, description, [query(expr, "{{Hostname}} {{gpu}}")], **look)

    memory = (f"avg by (Hostname, gpu) (DCGM_FI_DEV_FB_USED{{{where}}} / (DCGM_FI_DEV_FB_USED"
              f"{{{where}}} + DCGM_FI_DEV_FB_FREE{{{where}}}))")
    hosts = variable("Hostname", "label_values(DCGM_FI_DEV_GPU_UTIL, Hostname)")
    return dashboard("tandem-gpus", "Tandem / GPUs", "By NVIDIA's dcgm-exporter, beside Tandem.", [
        each("Busy", "Share of time with a kernel on the GPU.", "DCGM_FI_DEV_GPU_UTIL",
             unit="percent", most=100),
        each("Memory bandwidth", "Share of DRAM cycles in use: what bounds decode.",
             "DCGM_FI_PROF_DRAM_ACTIVE", unit="percentunit", most=1),
        each("Tensor cores", "Share of cycles in use: what bounds prefill.",
             "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", unit="percentunit", most=1),
        panel("Memory", "Share of the GPU's memory that is taken; the KV pool is taken whole at "
              "start.", [query(memory, "{{Hostname}} {{gpu}}")], unit="percentunit", most=1,
              warn=0.95),
        each("Power", "Draw.", "DCGM_FI_DEV_POWER_USAGE", unit="watt"),
        each("Temperature", "Of the GPU; it slows down above its limit.", "DCGM_FI_DEV_GPU_TEMP",
             unit="celsius", warn=80, alarm=90),
        each("SM clock", "Falls where power or heat limits.", "DCGM_FI_DEV_SM_CLOCK",
             scale=" * 1000000", unit="hertz"),
        each("PCIe out", "To the host and to GPUs without NVLink.", "DCGM_FI_PROF_PCIE_TX_BYTES",
             unit="Bps"),
        each("NVLink out", "To peer GPUs: tensor parallelism and hand-off.",
             "DCGM_FI_PROF_NVLINK_TX_BYTES", unit="Bps"),
        each("XID errors", "The last error of the driver; above 0 see NVIDIA's list.",
             "DCGM_FI_DEV_XID_ERRORS", unit="short", warn=1),
        panel("Energy of a token", "Power of the chosen hosts by tokens sampled.",
              [query(f"sum(DCGM_FI_DEV_POWER_USAGE{{{where}}}) / sum(rate(tandem_tokens_total"
                     '{MODEL, kind="generated"}[RATE]))')], unit="joule"),
    ], [hosts])


BOARDS = {"overview": overview, "requests": requests, "kv_handoff": kv_handoff, "gpus": gpus}


def main():
    changed = []
    for name, board in BOARDS.items():
        path = os.path.join(HERE, name + ".json")
        text = json.dumps(board(), indent=1, ensure_ascii=False) + "\n"
        old = ""
        if os.path.exists(path):
            with open(path, encoding="utf-8") as stream:
                old = stream.read()
        if text == old:
            continue
        changed.append(name + ".json")
        if sys.argv[1:] != ["--check"]:
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(text)
    print("changed:", *changed or ["nothing"])
    return int(bool(changed) and sys.argv[1:] == ["--check"])


if __name__ == "__main__":
    sys.exit(main())
