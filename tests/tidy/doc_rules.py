# SPDX-License-Identifier: Apache-2.0
"""READMEs that stay true: short, complete, and every file and link they name exists."""
import fnmatch
import os
import re

from tree import VENDORED, Finding

MAX_README_LINES = 40
CATALOGUE = "kernels/README.md"  # a row an operation, however many there are
MAX_FILES = 15
# Of a mirrored test folder the source folder's README speaks.
NO_README = (".", "tests/services", "tests/kernels")
FURNITURE = ("README.md", "CMakeLists.txt")
NAMED = r"[\w.{},*+-]+(?:/[\w.{},*+-]*)*"
# A list item or a table row opens with the names it is about.
ENTRY = re.compile(r"^\s*(?:[-*]\s+|\|\s*)((?:\[?`[^`]+`\]?(?:\([^)]*\))?[,;]?\s*(?:and\s+)?)+)")
FILE_LIKE = re.compile(
    r"^[\w{},*+./-]+(/|\.(h|cc|cuh|cu|py|sh|txt|md|proto|json|jsonl|textproto|cmake|yaml|bin|csv))$"
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def expand(token):
    """`a.{h,cc}` → a.h a.cc."""
    match = re.search(r"\{([^{}]*)\}", token)
    if not match:
        return [token]
    return [e for part in match.group(1).split(",")
            for e in expand(token[: match.start()] + part.strip() + token[match.end():])]


def core(name):
    """The concept a file is about: hc_post_cpu.cc, hc_post.h and `hc_post` are one."""
    return re.sub(r"(_cpu|_fast|_cuda|_sm\d+[a-z]?|_test|_bench|_fuzz)?(\.[A-Za-z]+)*$", "", name)


def tokens(text):
    found = (token if "{" in token else token.strip(",.") for token in re.findall(NAMED, text))
    return [e for token in found for e in expand(token)]


def check_length(readme):
    if len(readme.lines) > MAX_README_LINES and readme.folder and readme.path != CATALOGUE:
        yield Finding(readme.path, len(readme.lines), "readme", f"at most {MAX_README_LINES} lines")


def check_complete(tree, readme):
    said = {t.rstrip("/").removeprefix("./") for t in tokens(readme.text)}
    said |= {t.split("/")[0] for t in said}
    cores = {core(t) for t in said}
    globs = [t for t in said if "*" in t and re.search(r"\w", t)]  # a bullet is no glob
    for name in [f.name for f in tree.in_folder(readme.folder)] + tree.children(readme.folder):
        if name in FURNITURE or name.startswith(".") or name in said or core(name) in cores:
            continue
        if not any(fnmatch.fnmatch(name, g) for g in globs):
            yield Finding(readme.path, 1, "readme-list", f"does not name {name}")


def check_exists(tree, readme):
    for number, line in enumerate(readme.lines, 1):
        entry = ENTRY.match(line)
        for span in re.findall(r"`([^`]+)`", entry.group(1)) if entry else ():
            for token in [t for part in span.split() for t in expand(part.strip(","))]:
                if FILE_LIKE.match(token) and not _exists(tree, readme.folder, token):
                    what = f"names {token}, which does not exist"
                    yield Finding(readme.path, number, "readme-list", what)


def _exists(tree, folder, token):
    token = token.removeprefix("./").rstrip("/")
    for base in (folder + "/" if folder else "", ""):
        path = os.path.normpath(base + token)
        if path in tree.paths or path in tree.folders:
            return True
        if "*" in token and any(fnmatch.fnmatch(p, path) for p in tree.paths):
            return True
    return token.startswith("build/")


def check_links(tree, document):
    fenced = False
    for number, line in enumerate(document.lines, 1):
        fenced ^= line.lstrip().startswith("```")
        for target in () if fenced else LINK.findall(line):
            path = target.split("#")[0]
            if not path or re.match(r"[a-z]+:", path):
                continue
            whole = os.path.normpath(os.path.join(document.folder, path))
            if whole not in tree.paths and whole not in tree.folders:
                yield Finding(document.path, number, "link", f"{target} leads nowhere")


def check_paths(tree, document):
    """What begins like a path of the repository, in backticks anywhere, is one."""
    tops = {folder for folder in tree.folders if folder and "/" not in folder}
    fenced = False
    for number, line in enumerate(document.lines, 1):
        fenced ^= line.lstrip().startswith("```")
        for span in () if fenced else re.findall(r"`([^`]+)`", line):
            for token in tokens(span):
                path = token.strip(",.")
                ours = "/" in path and path.split("/")[0] in tops
                if ours and not _exists(tree, document.folder, path):
                    what = f"names {path}, which does not exist"
                    yield Finding(document.path, number, "path", what)


def check_folder(tree, folder):
    files = [f for f in tree.in_folder(folder) if f.name not in FURNITURE and f.name[0] != "."]
    # A kernel family counts operations, and its tests mirror it (kernel_rules.py).
    family = re.fullmatch(r"(tests/)?kernels/(?!common$|ptx$|cuda$)\w+", folder)
    if not family and len(files) > MAX_FILES:
        yield Finding(folder, 1, "folder-size", f"{len(files)} files, at most {MAX_FILES}")
    if files and not folder.startswith(NO_README) and not tree.get(f"{folder}/README.md"):
        yield from check_spoken_for(tree, folder, files)


def check_spoken_for(tree, folder, files):
    """A folder without a README: one above names its files, or of mere data the folder."""
    above = folder
    while above and not tree.get(f"{above}/README.md"):
        above = above.rpartition("/")[0]
    said = set(tokens(tree.get(f"{above}/README.md").text)) if above else set()
    inside = folder[len(above) + 1:]
    data = not any(f.is_source for f in files)
    if data and inside + "/" in said:
        return
    if not all(f"{inside}/{f.name}" in said for f in files):
        yield Finding(folder, 1, "readme", "the folder has no README.md")


def check(tree):
    for file in tree.files:
        if file.name == "README.md":
            yield from check_length(file)
            yield from check_exists(tree, file)
            if file.folder:
                yield from check_complete(tree, file)
        if file.ext == ".md":
            yield from check_links(tree, file)
            yield from check_paths(tree, file)
    for folder in sorted(tree.folders - {"", "cmake"}):
        if not (folder + "/").startswith(VENDORED):
            yield from check_folder(tree, folder)
