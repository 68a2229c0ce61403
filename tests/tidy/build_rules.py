# SPDX-License-Identifier: Apache-2.0
"""No dead files: each source has a CMake target, each folder is added, each header included."""
import os
import re

from tree import Finding

BUILT = (".cc", ".cu", ".proto")
INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')


def cmake_code(file):
    return "\n".join(re.sub(r"#.*", "", line) for line in file.lines)


def _named_in(tree, path):
    """Whether the CMakeLists.txt of the file's folder or of one above names it."""
    folder, inside = path.rsplit("/", 1) if "/" in path else ("", path)
    while True:
        cmake = tree.get(f"{folder}/CMakeLists.txt" if folder else "CMakeLists.txt")
        if cmake and re.search(rf"(?<![\w/.-]){re.escape(inside)}(?![\w/-])", cmake_code(cmake)):
            return True
        if not folder:
            return False
        folder, _, last = folder.rpartition("/")
        inside = f"{last}/{inside}"


def check_membership(tree):
    for file in tree.files:
        if file.ext in BUILT and not _named_in(tree, file.path):
            yield Finding(file.path, 1, "dead-file", "no CMakeLists.txt above it names it")


def check_folders(tree):
    for file in tree.files:
        if file.name != "CMakeLists.txt" or not file.folder:
            continue
        parent, _, last = file.folder.rpartition("/")
        cmake = tree.get(f"{parent}/CMakeLists.txt" if parent else "CMakeLists.txt")
        added = rf"add_subdirectory\(\s*{re.escape(last)}\s*\)"
        if not cmake or not re.search(added, cmake_code(cmake)):
            where = parent or "the root"
            yield Finding(file.path, 1, "dead-folder", f"{where} does not add_subdirectory({last})")


def check_headers(tree):
    included = set()
    for file in tree.cpp():
        for line in file.code:
            match = INCLUDE.match(line)
            if match and match.group(1) != file.path:
                included.add(match.group(1))
    for file in tree.cpp():
        if file.ext in (".h", ".cuh") and file.path not in included:
            yield Finding(file.path, 1, "dead-file", "no file includes it")


def check_mirror(tree):
    for file in tree.files:
        mirrored = re.match(r"tests/((?:services|kernels)/.*)$", file.folder + "/")
        if not mirrored or not file.name.endswith("_test.cc"):
            continue
        source = mirrored.group(1).rstrip("/")
        if source not in tree.folders:
            yield Finding(file.path, 1, "mirror", f"tests mirror source paths; no {source} here")


def check_links(build, binary="tandem-router"):
    """The link line as the generator wrote it: no kernels, no CUDA, not even through a library."""
    forbidden = ("cuda", "nccl", "cublas", "tandem_kernels")
    path = os.path.join(build, "build.ninja")
    with open(path, encoding="utf-8") as stream:
        text = stream.read()
    match = re.search(rf"^build \S*{binary}: [^\n]*\n(?:  [^\n]*\n)*", text, re.M)
    if not match:
        yield Finding("services/router", 1, "router-links", f"{path} builds no {binary}")
        return
    for word in forbidden:
        if re.search(word, match.group(0).lower()):
            yield Finding("services/router", 1, "router-links", f"{binary} links {word}")


def check(tree):
    yield from check_membership(tree)
    yield from check_folders(tree)
    yield from check_headers(tree)
    yield from check_mirror(tree)
