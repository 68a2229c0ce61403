# SPDX-License-Identifier: Apache-2.0
"""Include direction: one table, low to high. Includes go down: to lower groups and to oneself."""
import re

from tree import Finding

RUNTIME = "services/runtime/"
# Members of one group never include each other. A member is a folder or a file without its suffix.
LOW_TO_HIGH = (
    ("kernels",),
    ("proto",),
    (RUNTIME + "base",),
    (RUNTIME + "config", RUNTIME + "metrics"),
    (RUNTIME + "rpc",),
    # The network's sizes: the KV layout is computed from them, the forward pass uses both.
    (RUNTIME + "model/config",),
    (RUNTIME + "text", RUNTIME + "kv", RUNTIME + "sampling", RUNTIME + "parallel"),
    (RUNTIME + "model",),
    (RUNTIME + "loader",),
    (RUNTIME + "engine",),
    (RUNTIME + "scheduler",),
    (RUNTIME + "transfer", RUNTIME + "machine", RUNTIME + "plan"),
    ("services/prefill", "services/decode", "services/router", "services/tools"),
)
RANK = {member: rank for rank, group in enumerate(LOW_TO_HIGH) for member in group}
REACHES_KERNELS = tuple(RUNTIME + f for f in (
    "kv", "sampling", "model", "loader", "engine", "scheduler", "transfer", "parallel"))
# What stands high may still not see all that is below.
FORBIDDEN = {
    "proto": ("kernels",),
    RUNTIME + "base": ("kernels", "proto"),
    RUNTIME + "config": ("kernels",),
    RUNTIME + "metrics": ("kernels",),
    RUNTIME + "rpc": ("kernels",),
    RUNTIME + "text": ("kernels",),
    RUNTIME + "scheduler": ("kernels", "proto", RUNTIME + "rpc", RUNTIME + "metrics"),
    # Sees GPUs through one door, and computes nothing.
    RUNTIME + "machine": ("proto",) + REACHES_KERNELS,
    # These programs run where there is no GPU. The tools may ask about GPUs and sizes.
    "services/router": ("kernels", RUNTIME + "machine", RUNTIME + "plan") + REACHES_KERNELS,
    "services/tools": ("kernels",) + REACHES_KERNELS,
}
INCLUDE = re.compile(r'\s*#\s*include\s+([<"])([^>"]+)[>"]')
KERNEL_BANNED = re.compile(r"^(absl/|google/|grpc|nlohmann/|prometheus/|tandem/|services/)")
PROJECT = ("services/", "kernels/", "tests/", "proto/")


def member_of(path):
    """The table's longest member that holds a path or an include, or None."""
    if path.startswith("tandem/v1/"):
        return "proto"
    holds = [m for m in RANK if path.startswith((m + "/", m + "."))]
    return max(holds, key=len, default=None)


def judge(source, target):
    """Why a file of `source` may not include one of `target`; None when it may."""
    if source == target:
        return None
    if target in FORBIDDEN.get(source, ()):
        return f"{source} may not know {target}"
    if RANK[target] == RANK[source]:
        return f"{source} and {target} stand side by side and never include each other"
    if RANK[target] > RANK[source]:
        return f"{target} stands above {source}: includes go from high to low"
    return None


def check_include(file, number, source, tree):
    match = INCLUDE.match(file.code[number - 1])
    if not match:
        return
    bracket, path = match.groups()
    if source == "kernels" and KERNEL_BANNED.match(path):
        what = f"kernels know the standard library and CUDA only, not {path}"
        yield Finding(file.path, number, "layer", what)
        return
    if path.startswith(PROJECT):
        if bracket == "<" or path not in tree.paths:
            what = f'"{path}" is no file of this tree, in quotes'
            yield Finding(file.path, number, "include", what)
        if path.startswith("tests/") and source is not None:
            yield Finding(file.path, number, "layer", "product code includes no test code")
    elif bracket == '"' and ("/" not in path or path.startswith(".")):
        what = f'"{path}": includes start at the project root'
        yield Finding(file.path, number, "include", what)
    target = member_of(path)
    why = judge(source, target) if source and target else None
    if why:
        yield Finding(file.path, number, "layer", why)


def check(tree):
    for file in tree.cpp():
        source = member_of(file.path)
        if source is None and file.path.startswith(("services/", "kernels/")):
            yield Finding(file.path, 1, "layer", "in no layer: name it in tests/tidy/layers.py")
            continue
        for number in range(1, len(file.code) + 1):
            yield from check_include(file, number, source, tree)
