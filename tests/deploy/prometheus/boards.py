# SPDX-License-Identifier: Apache-2.0
"""What deploy/grafana and deploy/prometheus ask for, read for the tests beside this file."""
import glob
import json
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
GRAFANA = os.path.join(ROOT, "deploy/grafana")
PROMETHEUS = os.path.join(ROOT, "deploy/prometheus")

# The one exception to "every query is asked of live processes": these come from NVIDIA's
# dcgm-exporter, which needs a GPU, and may stand on the board `gpus` only.
DCGM = frozenset((
    "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_PROF_DRAM_ACTIVE", "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
    "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_GPU_TEMP",
    "DCGM_FI_DEV_SM_CLOCK", "DCGM_FI_PROF_PCIE_TX_BYTES", "DCGM_FI_PROF_NVLINK_TX_BYTES",
    "DCGM_FI_DEV_XID_ERRORS"))

# A series of ours, of vLLM's, of DCGM's, one that a rule records, or Prometheus' own `up`.
NAME = r"(?<![\w:])(?:tandem_\w+|tandem:[\w:]+|vllm:\w+|DCGM_\w+|up(?=\{))(?![\w:])"
SELECTOR = re.compile(NAME + r"(?:\{[^}]*\})?")


def read(path):
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def names(expr):
    return set(re.findall(NAME, expr))


def selectors(expr):
    """Every `name{matchers}` of an expression, without its range."""
    return SELECTOR.findall(expr)


def dashboards():
    """File name without .json → dashboard."""
    return {os.path.basename(path)[:-5]: json.loads(read(path))
            for path in sorted(glob.glob(os.path.join(GRAFANA, "*.json")))}


def queries(board):
    """(panel's title, expression) of a dashboard, its variables' included."""
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in board["templating"]["list"]:
        match = re.fullmatch(r"label_values\((.+), \w+\)", variable.get("definition", ""))
        if match:
            yield "variable " + variable["name"], match.group(1)


def without_comments(yaml):
    return re.sub(r"(?m)^\s*#.*$", "", yaml)


def recorded():
    return set(re.findall(r"record: (\S+)", read(os.path.join(PROMETHEUS, "rules.yaml"))))


def exposed():
    """Every name that series.h and vllm_series.h let a process show."""
    out = set()
    for header in ("series.h", "vllm_series.h"):
        text = read(os.path.join(ROOT, "services/runtime/metrics", header))
        out |= set(re.findall(r'Series k\w+ = \{\s*"((?:tandem_|vllm:)\w+)"', text))
    return out


def unknown(used, known):
    """Names that nobody shows; a histogram's parts are its own."""
    return {name for name in used
            if name not in known and re.sub(r"_(bucket|sum|count)$", "", name) not in known}
