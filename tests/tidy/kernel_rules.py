# SPDX-License-Identifier: Apache-2.0
"""The anatomy of an operation: contract, plain reference, test, table slot, catalogue row."""
import re

from tree import Finding

MAX_OPERATIONS = 8
SECTIONS = ("Math", "Shapes", "Layout", "Numerics", "Cost", "Roofline", "Source")
FAMILY = re.compile(r"kernels/(?!common/|ptx/)\w+/\w+\.h$")


def opening(header):
    for line in header.lines[1:]:
        if not line.startswith("//"):
            return
        yield line


def is_internal(header):
    """What a family's backends share says so, and stays inside."""
    said = f"// Internal to {header.folder}."
    return bool(FAMILY.match(header.path)) and any(o.startswith(said) for o in opening(header))


def is_operation(header):
    """A header of a family that declares what runs on a stream; the others hold types."""
    runs = FAMILY.match(header.path) and "Stream&" in "\n".join(header.code)
    return bool(runs) and not is_internal(header)


def check_header(header):
    said = [match.group(1) for line in opening(header)
            if (match := re.match(r"// ([A-Z]\w+)\b", line))]
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


def check_internal(tree, header):
    home = (header.folder + "/", f"tests/{header.folder}/")
    for file in tree.cpp():
        if not file.path.startswith(home) and f'#include "{header.path}"' in file.code:
            what = f"{header.path} is internal to {header.folder}"
            yield Finding(file.path, 1, "kernel-internal", what)


def check_family(tree, folder):
    count = sum(is_operation(f) for f in tree.in_folder(folder) if f.is_cpp)
    if count > MAX_OPERATIONS:
        what = f"{count} operations, at most {MAX_OPERATIONS}"
        yield Finding(folder, 1, "folder-size", what)


def check(tree):
    for folder in tree.folders:
        yield from check_family(tree, folder)
    for file in tree.cpp():
        if is_internal(file):
            yield from check_internal(tree, file)
        if is_operation(file):
            yield from check_header(file)
            yield from check_siblings(tree, file)
            yield from check_registered(tree, file)
