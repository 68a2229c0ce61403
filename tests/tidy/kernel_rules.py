# SPDX-License-Identifier: Apache-2.0
"""The anatomy of an operation: contract, plain reference, test, table slot, catalogue row."""
import re

from tree import Finding

SECTIONS = ("Math", "Shapes", "Layout", "Numerics", "Cost", "Roofline", "Source")
FAMILY = re.compile(r"kernels/(?!common/|ptx/)\w+/\w+\.h$")


def is_operation(header):
    """A header of a family that declares what runs on a stream; the others hold types."""
    return bool(FAMILY.match(header.path)) and "Stream&" in "\n".join(header.code)


def check_header(header):
    opening = []
    for line in header.lines[1:]:
        if not line.startswith("//"):
            break
        opening.append(line)
    said = [match.group(1) for line in opening if (match := re.match(r"// ([A-Z]\w+)\b", line))]
    missing = [s for s in SECTIONS if s not in said]
    if missing:
        what = f"the opening comment lacks {', '.join(missing)}"
        yield Finding(header.path, 2, "kernel-contract", what)


def check_siblings(tree, header):
    stem = header.path[:-2]
    if stem + "_cpu.cc" not in tree.paths:
        yield Finding(header.path, 1, "kernel-anatomy", f"no plain reference {stem}_cpu.cc")
    if f"tests/{stem}_test.cc" not in tree.paths:
        yield Finding(header.path, 1, "kernel-anatomy", f"no test tests/{stem}_test.cc")


def check_registered(tree, header):
    name = header.name[:-2]
    table, catalogue = tree.get("kernels/kernel_table.h"), tree.get("kernels/README.md")
    slots = "\n".join(table.code).replace(header.path, "") if table else ""
    if not re.search(rf"\b{name}\b", slots):
        what = f"kernels/kernel_table.h has no slot {name}"
        yield Finding(header.path, 1, "kernel-table", what)
    row = catalogue and re.search(rf"^\|[^|\n]*\b{name}\b", catalogue.text, re.M)
    if not row:
        what = f"kernels/README.md has no row for {name}"
        yield Finding(header.path, 1, "kernel-catalogue", what)


def check(tree):
    for file in tree.cpp():
        if is_operation(file):
            yield from check_header(file)
            yield from check_siblings(tree, file)
            yield from check_registered(tree, file)
