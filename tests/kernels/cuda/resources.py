#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: no kernel spills, none takes more shared memory than SM120 has; a table of both targets.
Method: what ptxas said when the objects were built, kept beside them (cmake/keep_resources.sh).

    resources.py BUILD [--table FILE]
"""
import argparse
import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass

SHARED_MOST = 101376  # bytes a block on SM120; dynamic shared memory is checked at the launch
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


@dataclass
class Kernel:
    name: str
    target: str
    stack: int = 0
    spills: int = 0
    registers: int = 0
    shared: int = 0


def parse(text):
    """The kernels of one log of ptxas."""
    kernels = []
    for line in text.splitlines():
        if match := ENTRY.search(line):
            kernels.append(Kernel(match.group(1), match.group(2)))
        elif not kernels:
            continue
        elif match := SPILLS.search(line):
            stack, stores, loads = map(int, match.groups())
            kernels[-1].stack, kernels[-1].spills = stack, stores + loads
        elif match := USED.search(line):
            kernels[-1].registers = int(match.group(1))
            shared = SHARED.search(line)
            kernels[-1].shared = int(shared.group(1)) if shared else 0
    return kernels


def readable(names):
    """Demangled, without namespaces, arguments and casts."""
    done = subprocess.run(["c++filt"], input="\n".join(names), text=True, capture_output=True,
                          check=True)
    out = []
    for name in done.stdout.splitlines():
        name = re.sub(r"\(anonymous namespace\)::|tandem::kernels::|cuda::", "", name)
        name = re.sub(r"^void ", "", name)
        name = re.sub(r"\((int|bool|WeightFormat)\)", "", name)
        out.append(re.sub(r"\(.*\)$", "", name))
    return out


def faults(kernels):
    for kernel in kernels:
        if kernel.spills:
            yield f"{kernel.name} ({kernel.target}): {kernel.spills} bytes spilled"
        if kernel.shared > SHARED_MOST:
            yield f"{kernel.name} ({kernel.target}): {kernel.shared} bytes of shared memory"
        if not kernel.registers:
            yield f"{kernel.name} ({kernel.target}): ptxas did not say how many registers"


def table(kernels):
    rows = {}
    for kernel in kernels:
        rows.setdefault(kernel.name, {})[kernel.target] = kernel
    targets = sorted({kernel.target for kernel in kernels}, key=lambda t: int(t.strip("sm_af")))
    yield "| kernel | " + " | ".join(f"registers {t} | static shared {t}" for t in targets) + " |"
    yield "|---|" + "--:|--:|" * len(targets)
    for name in sorted(rows):
        cells = [f"{k.registers} | {k.shared}" if (k := rows[name].get(t)) else "– | –"
                 for t in targets]
        yield f"| `{name}` | " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--table", type=pathlib.Path)
    arguments = parser.parse_args()
    kernels = [kernel for log in sorted(arguments.build.glob("kernels/**/*.ptxas"))
               for kernel in parse(log.read_text(encoding="utf-8"))]
    for kernel, name in zip(kernels, readable([k.name for k in kernels])):
        kernel.name = name
    found = list(faults(kernels))
    for fault in found:
        print(fault)
    if arguments.table:
        arguments.table.write_text("\n".join(table(kernels)) + "\n", encoding="utf-8")
    print(f"{len(kernels)} kernels, {len(found)} faults")
    return 1 if found or not kernels else 0


if __name__ == "__main__":
    sys.exit(main())
