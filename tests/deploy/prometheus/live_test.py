#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: every query of every dashboard, rule and alert has an answer while Tandem serves, and
promtool accepts each /metrics.
Method: the three processes and a real Prometheus that scrapes them by deploy/prometheus; requests
that end well, ones that are refused, ones that are cancelled, a reservation that expires. Then each
query is asked: no error, at least one series, at least one number. A panel's variables stand for
everything, and the interval of its rates is short. An alert's expression is empty while all is
well: it must have no error, and each `name{matchers}` in it must have series. The GPU board's
queries of dcgm-exporter alone are left out (boards.DCGM), and no others.

  live_test.py BIN
"""
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

import grpc

from boards import DCGM, dashboards, names, queries, selectors
from server import Server

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from local import Local, make_stubs  # noqa: E402

LIMIT = 120  # seconds for anything to come that should


def wait_for(what, ready):
    until = time.monotonic() + LIMIT
    while not ready():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {LIMIT} s")
        time.sleep(0.2)


class Load:
    """Requests of each kind, over and over, until stopped."""

    def __init__(self, local):
        from tandem.v1 import inference_pb2, inference_pb2_grpc, worker_pb2, worker_pb2_grpc
        self._messages = inference_pb2
        self._client = inference_pb2_grpc.InferenceServiceStub(
            grpc.insecure_channel(local.grpc["router"]))
        decode = worker_pb2_grpc.DecodeServiceStub(grpc.insecure_channel(local.grpc["decode"]))
        # Nobody commits it.
        decode.Reserve(worker_pb2.ReserveRequest(request_id="forgotten", tokens=300), timeout=LIMIT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answered, self.failure = 0, None

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        try:
            while not self._stop.is_set():
                self._answered()
                self._refused()
                self._cancelled()
        except (grpc.RpcError, AssertionError) as error:
            self.failure = error

    def _generate(self, tokens, temperature=0.0):
        request = self._messages.GenerateRequest(text="Dan has 3 plums and eats 2.",
                                                 ignore_eos=True, max_tokens=tokens)
        request.sampling.temperature = temperature
        return self._client.Generate(request, timeout=LIMIT)

    def _answered(self):
        for event in self._generate(12):
            self.answered += event.HasField("finished")

    def _refused(self):
        try:
            list(self._generate(12, temperature=1000))
            raise AssertionError("temperature 1000 was taken")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error

    def _cancelled(self):
        call = self._generate(400)
        for event in call:
            if event.HasField("delta"):
                call.cancel()
                break


def check_exposition(local):
    """promtool's own opinion of each /metrics; vLLM's names have colons, and a histogram of
    its ends in _total."""
    for role in local.metrics:
        out = subprocess.run(["promtool", "check", "metrics"], input=local.scrape(role),
                             capture_output=True, text=True, timeout=60, check=False)
        said = (out.stdout + out.stderr).splitlines()
        known = re.compile(r"vllm:\w+ (metric names should not contain ':'|"
                           r'non-counter metrics should not have "_total" suffix)$')
        yield from (f"{role}: {line}" for line in said if not known.match(line))
        if not out.returncode == (3 if said else 0):
            yield f"{role}: promtool ended with {out.returncode}"


def ask(server, where, expr):
    """Nothing when all is well, else one line."""
    for variable, value in (("$model_name", ".*"), ("$__rate_interval", "30s"),
                            ("$Hostname", ".*")):
        expr = expr.replace(variable, value)
    try:
        values = server.values(expr)
    except ValueError as error:
        yield f"{where}: {error}: {expr}"
        return
    if not values:
        yield f"{where}: no series: {expr}"
    elif all(math.isnan(value) for value in values):
        yield f"{where}: {len(values)} series, none with a number: {expr}"


def check_boards(server):
    asked = 0
    for name, board in dashboards().items():
        for title, expr in queries(board):
            if name == "gpus" and names(expr) & DCGM:
                continue
            asked += 1
            yield from ask(server, f"{name}: {title}", expr)
    if asked < 60:
        yield f"only {asked} queries of dashboards were found"


def check_rules(server):
    rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
    for rule in rules:
        where = f"{rule['type']} {rule['name']}"
        if rule["health"] != "ok":
            yield f"{where}: {rule['health']}: {rule.get('lastError', '')}"
        if rule["type"] == "recording":
            yield from ask(server, where, rule["name"])
            continue
        server.values(rule["query"])
        for selector in selectors(rule["query"]):
            yield from ask(server, where, selector)
    if {rule["type"] for rule in rules} != {"recording", "alerting"}:
        yield "Prometheus has not loaded both kinds of rules"


def scraped(server, since):
    """Each process several times since the load has shown, however long that took: a series that
    has only then come has neither a value nor a rate before."""
    seconds = int(time.monotonic() - since)
    if seconds < 8:
        return False
    counts = server.values(f'count_over_time(up{{job="tandem"}}[{seconds}s])')
    return len(counts) == 3 and min(counts) >= 8


def happened(local, load):
    """What the load does on purpose, all counted."""
    if load.failure is not None:
        raise load.failure
    router, decode = local.scrape("router"), local.scrape("decode")
    wanted = [rf'^tandem_requests_total{{.*outcome="{outcome}".*}} [1-9]'
              for outcome in ("length", "rejected", "cancelled")]
    wanted.append("^tandem_kv_lease_expired_total{.*} [1-9]")
    return all(re.search(line, router + decode, re.M) for line in wanted)


def main():
    with tempfile.TemporaryDirectory() as folder:
        state, stubs, data = (os.path.join(folder, name) for name in ("state", "stubs", "data"))
        for path in (state, stubs, data):
            os.mkdir(path)
        make_stubs(stubs)
        with Local(sys.argv[1], state, decode="lease_ttl { seconds: 5 }") as local, \
                Server(data, local.metrics.values()) as server, Load(local) as load:
            wait_for("answers, refusals, cancels, an expired lease", lambda: happened(local, load))
            since = time.monotonic()
            wait_for("scrapes", lambda: scraped(server, since))
            faults = [*check_boards(server), *check_rules(server), *check_exposition(local)]
            if load.failure is not None:
                faults.append(f"the load failed: {load.failure}")
            print(f"{load.answered} answers, {len(faults)} faults", *faults, sep="\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
