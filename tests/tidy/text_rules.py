# SPDX-License-Identifier: Apache-2.0
"""What one file must look like on its own: size, width, first line, banned words."""
import os
import re

from tree import CPP, HASH, Finding

MAX_LINES = 400
MAX_COLUMNS = 100
SPDX = "SPDX-License-Identifier: Apache-2.0"
HOMES = "tests/tidy/shared_ptr_allow.txt"
HERE = os.path.dirname(os.path.abspath(__file__))

# (rule, pattern over code without comments and literals, advice, files where it is right)
BANS = (
    ("getenv", r"\b(secure_)?getenv\b", "configuration is a file, see config.proto", ()),
    ("exit", r"\b(exit|quick_exit|_Exit)\s*\(", "return a status up to main", ()),
    ("throw", r"\bthrow\b", "return absl::Status", ()),
    ("thread", r"\bstd::j?thread\b|\bstd::async\b|\bpthread_create\b",
     "use services/runtime/base/thread.h",
     ("services/runtime/base/thread.", "kernels/common/cuda/queue_watcher.")),
    ("shared_ptr", r"\b(shared_ptr|make_shared|enable_shared_from_this)\b",
     "own by value or unique_ptr", None),
    ("using-namespace", r"\busing\s+namespace\b", "name what you use", ()),
    ("printf", r"\b(v?(f|s|sn|d|as)?printf|puts|fputs)\s*\(",
     "use absl::StrFormat, base/log.h or a stream", ()),
    ("skip", r"\bGTEST_SKIP\b|\bDISABLED_", "a test that does not run is no test", ()),
    ("arch", r"\b(cudaGetDeviceProperties|cudaDevAttrComputeCapability\w*)\b",
     "only kernels/select.cc decides by which GPU this is, and doctor tells it",
     ("kernels/select.cc", "kernels/common/probe/gpu_list_cuda.cu")),
    ("arch", r"\b__CUDA_ARCH__\b", "host code does not ask for the architecture", (".cuh", ".cu")),
)
BANS = tuple((rule, re.compile(pattern), advice, homes) for rule, pattern, advice, homes in BANS)
TODO = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(\(#\d+\))?")


def allowlist(name):
    """The paths named in a file beside this script, without its comments."""
    with open(os.path.join(HERE, name), encoding="utf-8") as stream:
        return {line.split("#")[0].strip() for line in stream} - {""}


def check_size(file):
    if len(file.lines) > MAX_LINES:
        what = f"{len(file.lines)} lines, at most {MAX_LINES}"
        yield Finding(file.path, len(file.lines), "file-size", what)
    for number, line in enumerate(file.lines, 1):
        if len(line) > MAX_COLUMNS:
            what = f"{len(line)} columns, at most {MAX_COLUMNS}"
            yield Finding(file.path, number, "columns", what)
        if line != line.rstrip() or "\r" in line:
            yield Finding(file.path, number, "space", "white space at the end of the line")


def check_spdx(file):
    mark = "# " if file.ext in HASH else "// "
    shebang = bool(file.lines) and file.lines[0].startswith("#!")
    first = file.lines[1 if shebang else 0] if len(file.lines) > shebang else ""
    if first != mark + SPDX:
        yield Finding(file.path, 1 + shebang, "spdx", f"the first line reads `{mark}{SPDX}`")


def check_bans(file, shared_ptr_homes):
    for rule, pattern, advice, homes in BANS:
        if homes is None:
            homes = tuple(shared_ptr_homes)
        if homes and (file.path.startswith(homes) or file.path.endswith(homes)):
            continue
        for number, line in enumerate(file.code, 1):
            if pattern.search(line):
                yield Finding(file.path, number, rule, advice)


def check_todo(file):
    if file.path.startswith("tests/tidy/"):
        return  # the rule itself
    for number, line in enumerate(file.lines, 1):
        for match in TODO.finditer(line):
            if match.group(1) != "TODO" or not match.group(2):
                yield Finding(file.path, number, "todo", "only TODO(#issue)")


def check_opening(file):
    """Headers open with a contract, test files with goal and method."""
    if not (file.ext in (".h", ".cuh") or file.name.endswith("_test.cc")):
        return
    if len(file.lines) < 2 or not re.match(r"// \S", file.lines[1]):
        what = "goal and method" if file.name.endswith("_test.cc") else "its contract"
        yield Finding(file.path, 2, "opening", f"after the licence comes {what}, as a comment")
    if file.ext in (".h", ".cuh") and "#pragma once" not in file.lines:
        yield Finding(file.path, 1, "pragma-once", "a header says #pragma once")


def check(tree):
    homes = allowlist("shared_ptr_allow.txt")
    for file in tree.files:
        if file.is_source:
            yield from check_size(file)
            yield from check_spdx(file)
            yield from check_todo(file)
        if file.ext in CPP:
            yield from check_bans(file, homes)
            yield from check_opening(file)
    for home in sorted(homes):
        if home not in tree.paths:
            yield Finding(HOMES, 1, "allowlist", f"{home} does not exist")
