# SPDX-License-Identifier: Apache-2.0
"""The tree as the rules see it: every file, read once, its code freed of comments and strings."""
import os
import re
from dataclasses import dataclass, field

SKIPPED_FOLDERS = {"build", "node_modules", "__pycache__", ".git", ".cache"}
# Copied from googleapis so that protoc finds it; its shape is not ours to change.
VENDORED = ("proto/google/",)
CPP = (".h", ".cc", ".cuh", ".cu")
HASH = (".py", ".sh", ".cmake", ".yaml", ".yml", ".textproto")
TEXT = CPP + HASH + (".proto", ".md", ".txt", ".json", ".jsonl")


@dataclass
class Finding:
    path: str
    line: int
    rule: str
    message: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


@dataclass
class File:
    path: str  # from the root, with '/'
    text: str = ""
    lines: list = field(default_factory=list)
    code: list = field(default_factory=list)  # C++ only: lines without comments, literals emptied

    @property
    def name(self):
        return self.path.rsplit("/", 1)[-1]

    @property
    def folder(self):
        return self.path.rsplit("/", 1)[0] if "/" in self.path else ""

    @property
    def ext(self):
        return ".cmake" if self.name == "CMakeLists.txt" else os.path.splitext(self.name)[1]

    @property
    def is_cpp(self):
        return self.ext in CPP

    @property
    def is_source(self):
        return self.ext in CPP + HASH + (".proto",)


# One pass that keeps line breaks, so that line numbers stay true.
_TOKENS = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^(\s]*)\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])*'",
    re.S,
)


def strip_cpp(text):
    """C++ text without comments and with empty literals; #include lines keep their paths."""

    def blank(match):
        token = match.group(0)
        quote = "" if token.startswith("/") else '""'
        return quote + "\n" * token.count("\n")

    lines = text.split("\n")
    kept = {i: line for i, line in enumerate(lines) if line.lstrip().startswith("#include")}
    out = _TOKENS.sub(blank, text).split("\n")
    for i, line in kept.items():
        if i < len(out):
            out[i] = line
    return out


def read_file(root, path):
    file = File(path)
    if file.ext in TEXT or file.name.startswith("LICENSE"):
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as stream:
            file.text = stream.read()
        file.lines = file.text.split("\n")
        if file.lines and file.lines[-1] == "":
            file.lines.pop()
        if file.is_cpp:
            file.code = strip_cpp(file.text)
    return file


class Tree:
    def __init__(self, root, files):
        self.root = root
        self.files = [f for f in files if not f.path.startswith(VENDORED)]
        self.paths = {f.path for f in files}
        self.folders = {""}
        for path in self.paths:
            parts = path.split("/")[:-1]
            self.folders.update("/".join(parts[: i + 1]) for i in range(len(parts)))

    def get(self, path):
        return next((f for f in self.files if f.path == path), None)

    def in_folder(self, folder):
        return [f for f in self.files if f.folder == folder]

    def children(self, folder):
        prefix = folder + "/" if folder else ""
        below = {f[len(prefix):] for f in self.folders if f.startswith(prefix)}
        return sorted(f for f in below if f and "/" not in f)

    def cpp(self):
        return [f for f in self.files if f.is_cpp]


def load(root):
    paths = []
    for folder, names, files in os.walk(root):
        names[:] = sorted(n for n in names if n not in SKIPPED_FOLDERS)
        for name in sorted(files):
            if not name.endswith((".pyc", ".swp")):
                paths.append(os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/"))
    # A worktree's .git is a file; large data is not read as text but still counted as a file.
    return Tree(root, [read_file(root, p) for p in paths if p != ".git"])


def tree_of(texts, root="/nowhere"):
    """A tree from a dict path → text, for tests."""
    files = []
    for path, text in texts.items():
        file = File(path, text, text.split("\n"))
        if file.lines[-1] == "":
            file.lines.pop()
        if file.is_cpp:
            file.code = strip_cpp(text)
        files.append(file)
    return Tree(root, files)
