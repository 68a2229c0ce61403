# SPDX-License-Identifier: Apache-2.0
"""Function lengths: C++ and CUDA by universal-ctags, Python by its own parser."""
import ast
import json
import os
import subprocess
from dataclasses import dataclass

from tree import Finding

MAX_HOST = 60
MAX_DEVICE = 150
MACROS = ("__global__", "__device__", "__host__", "__forceinline__", "__launch_bounds__+",
          "__cluster_dims__+", "ABSL_GUARDED_BY+", "ABSL_LOCKS_EXCLUDED+",
          "ABSL_EXCLUSIVE_LOCKS_REQUIRED+")


@dataclass
class Function:
    path: str
    line: int
    name: str
    lines: int
    device: bool


def _is_device(file, start):
    # The qualifiers stand on the line of the name or, with a template head, a few lines before.
    head = "\n".join(file.code[max(0, start - 4):start])
    head = head.rsplit("}", 1)[-1].rsplit(";", 1)[-1]
    return file.ext in (".cu", ".cuh") and ("__global__" in head or "__device__" in head)


def from_tags(output, by_path):
    """Functions from ctags' JSON lines."""
    for line in output.splitlines():
        tag = json.loads(line)
        if tag.get("_type") != "tag" or "end" not in tag:
            continue
        file = by_path[tag["path"]]
        start, end = tag["line"], tag["end"]
        device = _is_device(file, start)
        yield Function(tag["path"], start, tag["name"], end - start + 1, device)


def cpp_functions(tree):
    files = {f.path: f for f in tree.cpp()}
    command = ["ctags", "-o", "-", "--output-format=json", "--language-force=C++", "--kinds-C++=f",
               "--fields=+ne", "-L", "-"] + [f"-I{word}" for word in MACROS]
    done = subprocess.run(command, input="\n".join(files), cwd=tree.root, text=True,
                          capture_output=True, check=True)
    return list(from_tags(done.stdout, files))


def python_functions(tree):
    for file in tree.files:
        if file.ext == ".py":
            for node in ast.walk(ast.parse(file.text)):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    lines = node.end_lineno - node.lineno + 1
                    yield Function(file.path, node.lineno, node.name, lines, False)


def all_functions(tree):
    cpp = cpp_functions(tree) if os.path.isdir(tree.root) else []
    return cpp + list(python_functions(tree))


def check(functions):
    for function in functions:
        limit = MAX_DEVICE if function.device else MAX_HOST
        if function.lines > limit:
            yield Finding(function.path, function.line, "function-size",
                          f"{function.name} has {function.lines} lines, at most {limit}")
