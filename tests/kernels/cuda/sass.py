#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: what became of the instructions that matter, on both targets. Method: cuobjdump, where CUDA
has one: counts by target; on sm_120 the kernels of TileMath::kMx, its probe and only those have
the block-scaled product (QMMA.SF), those of IndexerMx and its probe that of FP4 (OMMA.SF), and no
kernel anywhere touches local memory.

    sass.py BINARY
"""
import collections
import re
import subprocess
import sys

TARGETS = ("sm_90a", "sm_120")
COUNTED = ("HMMA", "QMMA.SF", "QMMA", "OMMA.SF", "LDSM", "LDGSTS", "LDL", "STL")
INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)")
# Of mangled names: TileMath::kMx, IndexerMx, and the probes of the instructions in the tests.
BLOCK_SCALED = {
    "QMMA.SF": re.compile("8TileMathE1E|ptx6MxTypeE"),
    "OMMA.SF": re.compile("Indexer(Score|Short)KernelI.*9IndexerMx|ProbeKernelI.*9Fp4Scales"),
}


def kind(opcode):
    """The name in COUNTED, or None."""
    for name in COUNTED:
        if opcode == name or opcode.startswith(name + "."):
            return name
    return None


def by_kernel(lines):
    """Counts of each kernel in cuobjdump's text."""
    kernels, counts = {}, None
    for line in lines:
        if "Function :" in line:
            counts = kernels.setdefault(line.split("Function :")[1].strip(), collections.Counter())
        elif counts is not None and (match := INSTRUCTION.match(line)):
            if name := kind(match.group(1)):
                counts[name] += 1
    return kernels


def faults(target, kernels):
    """What should not be."""
    if not kernels:
        yield f"{target}: no kernels"
    for name, counts in kernels.items():
        for instruction, names in BLOCK_SCALED.items():
            wants = target == "sm_120" and names.search(name) is not None
            if wants != (counts[instruction] > 0):
                yield f"{target}: {name}: {counts[instruction]} {instruction}"
        if counts["LDL"] + counts["STL"] > 0:
            yield f"{target}: {name}: local memory"


def main():
    found = []
    print("| target | instruction | count | kernels |")
    print("|---|---|--:|--:|")
    for target in TARGETS:
        dump = subprocess.run(["cuobjdump", "--dump-sass", "-arch", target, sys.argv[1]], text=True,
                              capture_output=True, check=False)
        kernels = by_kernel(dump.stdout.splitlines())
        for name in COUNTED:
            having = [counts[name] for counts in kernels.values() if counts[name]]
            print(f"| {target} | {name} | {sum(having)} | {len(having)} |")
        found += faults(target, kernels)
    for fault in found:
        print(fault)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
