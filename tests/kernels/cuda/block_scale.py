#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: on sm_120f the tiles of TileMath::kMx and the indexer's scores multiply by the block-scaled
instructions, and no other kernel does. Method: their sources compiled once more as the build does,
for that target alone, to PTX; with --sass to machine code, in which QMMA.SF and OMMA.SF are told by
their opcodes (no CUDA tool but the compiler is needed).

    block_scale.py BUILD [--sass]
"""
import argparse
import json
import pathlib
import re
import shlex
import struct
import subprocess
import sys
import tempfile

SOURCES = ("kernels/gemm/tile_linear_cuda.cu", "kernels/moe/moe_experts_grouped_cuda.cu",
           "kernels/attention/indexer_topk_cuda.cu")
INSTRUCTIONS = ("kind::mxf8f6f4.block_scale.scale_vec::1X", "kind::mxf4.block_scale.scale_vec::2X")
OPCODES = (0x47A, 0x47F)  # QMMA.SF, OMMA.SF: the low twelve bits of their sixteen bytes
# TileMath::kMx and the indexer's kernels that multiply, in mangled names.
BLOCK_SCALED = re.compile("8TileMathE1E|Indexer(Score|Short)KernelI.*9IndexerMx")


def commands(build):
    """The build's own compiler calls for SOURCES, without targets and outputs."""
    entries = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    for entry in entries:
        if not entry["file"].endswith(SOURCES):
            continue
        words, kept = iter(shlex.split(entry["command"])), []
        for word in words:
            if word in ("-gencode", "-o"):
                next(words)
            elif word not in ("-c", "-Xptxas=-v"):
                kept.append(word)
        yield kept, entry["directory"]


def in_ptx(text):
    """Instructions of each kernel of a PTX module."""
    counts, name = {}, None
    for line in text.splitlines():
        if match := re.search(r"\.entry\s+(\w+)", line):
            name = match.group(1)
            counts[name] = 0
        elif name and any(instruction in line for instruction in INSTRUCTIONS):
            counts[name] += 1
    return counts


def in_cubin(data):
    """QMMA.SF and OMMA.SF of each kernel of a machine code module: its ELF sections .text.NAME."""
    table, = struct.unpack_from("<Q", data, 0x28)
    count, names = struct.unpack_from("<HH", data, 0x3C)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, table + 64 * i) for i in range(count)]
    counts = {}
    for header in headers:
        at = headers[names][4] + header[0]
        name = data[at:data.index(b"\0", at)].decode()
        if name.startswith(".text."):
            code = data[header[4]:header[4] + header[5]]
            words = (struct.unpack_from("<Q", code, i)[0] for i in range(0, len(code), 16))
            counts[name.removeprefix(".text.")] = sum(word & 0xFFF in OPCODES for word in words)
    return counts


def faults(counts):
    for name, count in counts.items():
        if (BLOCK_SCALED.search(name) is not None) != (count > 0):
            yield f"{name}: {count} block-scaled products"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--sass", action="store_true")
    arguments = parser.parse_args()
    target = (["-gencode", "arch=compute_120f,code=sm_120", "-cubin"] if arguments.sass
              else ["-arch=compute_120f", "-ptx"])
    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "module"
        for command, directory in commands(arguments.build):
            subprocess.run([*command, *target, "-o", str(out)], cwd=directory, check=True)
            data = out.read_bytes()
            counts |= in_cubin(data) if arguments.sass else in_ptx(data.decode())
    found = list(faults(counts))
    for fault in found:
        print(fault)
    scaled = [count for name, count in counts.items() if BLOCK_SCALED.search(name)]
    print(f"{len(scaled)} of {len(counts)} kernels are block-scaled, {sum(scaled)} instructions, "
          f"{len(found)} faults")
    return 1 if found or not scaled else 0


if __name__ == "__main__":
    sys.exit(main())
