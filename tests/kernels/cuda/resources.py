#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: no kernel uses local memory or more shared memory than SM120 has; a table of each target.
Method: what ptxas said when the objects were built, kept beside them (cmake/keep_resources.sh).

    resources.py BUILD [--tables FOLDER]     writes FOLDER/resources_TARGET.md
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
ENUMERATORS = {"WeightFormat": ("kBf16", "kFp8", "kFp4"), "TileMath": ("kBf16", "kMx"),
               "Inputs": ("kGiven", "kStaged", "kQuantised", "kKept")}


@dataclass
class Kernel:
    name: str
    target: str
    source: str = ""
    stack: int = 0
    spills: int = 0
    registers: int = 0
    shared: int = 0


def parse(text, source=""):
    """The kernels of one log of ptxas."""
    kernels = []
    for line in text.splitlines():
        if match := ENTRY.search(line):
            kernels.append(Kernel(match.group(1), match.group(2), source))
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


def template_value(match):
    """(Type)3 in a template's arguments: the enumerator, or the number."""
    enumerators = ENUMERATORS.get(match.group(1))
    return enumerators[int(match.group(2))] if enumerators else match.group(2)


def source_of(log):
    """kernels/…/X.dir/moe/swiglu_cuda.cu.o.ptxas: moe/swiglu_cuda.cu."""
    return str(log).rsplit(".dir/", 1)[-1].removesuffix(".o.ptxas")


def readable(names):
    """Demangled, without namespaces, arguments and casts."""
    done = subprocess.run(["c++filt"], input="\n".join(names), text=True, capture_output=True,
                          check=True)
    out = []
    for name in done.stdout.splitlines():
        name = re.sub(r"\(anonymous namespace\)::|tandem::kernels::|cuda::", "", name)
        name = re.sub(r"^void ", "", name)
        name = re.sub(r"\((\w+)\)(-?\d+)", template_value, name)
        out.append(re.sub(r"\([^()]*\)$", "", name))
    return out


def faults(kernels):
    for kernel in kernels:
        if kernel.spills or kernel.stack:
            yield (f"{kernel.name} ({kernel.target}): {kernel.spills} bytes spilled, "
                   f"{kernel.stack} of stack")
        if kernel.shared > SHARED_MOST:
            yield f"{kernel.name} ({kernel.target}): {kernel.shared} bytes of shared memory"
        if not kernel.registers:
            yield f"{kernel.name} ({kernel.target}): ptxas did not say how many registers"


def table(kernels, target):
    """A page of Markdown."""
    yield f"# Registers and shared memory of the CUDA table's kernels, {target}"
    yield ""
    yield ("What ptxas said; written by `tests/kernels/cuda/resources.py BUILD --tables "
           "tests/bench/results`.")
    yield ("No kernel uses local memory. Dynamic shared memory, which ptxas does not know, comes "
           "on top:")
    yield f"static and dynamic together are at most {SHARED_MOST} bytes (checked at every launch)."
    yield ""
    yield "| source | kernel | registers | static shared bytes |"
    yield "|---|---|--:|--:|"
    rows = {(k.source, k.name, k.registers, k.shared) for k in kernels if k.target == target}
    for source, name, registers, shared in sorted(rows):
        yield f"| {source} | `{name}` | {registers} | {shared} |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--tables", type=pathlib.Path)
    arguments = parser.parse_args()
    kernels = [kernel for log in sorted(arguments.build.glob("kernels/**/*.ptxas"))
               for kernel in parse(log.read_text(encoding="utf-8"), source_of(log))]
    for kernel, name in zip(kernels, readable([k.name for k in kernels])):
        kernel.name = name
    found = list(faults(kernels))
    for fault in found:
        print(fault)
    if arguments.tables:
        for target in sorted({kernel.target for kernel in kernels}):
            out = arguments.tables / f"resources_{target.replace('_', '')}.md"
            out.write_text("\n".join(table(kernels, target)) + "\n", encoding="utf-8")
    print(f"{len(kernels)} kernels, {len(found)} faults")
    return 1 if found or not kernels else 0


if __name__ == "__main__":
    sys.exit(main())
