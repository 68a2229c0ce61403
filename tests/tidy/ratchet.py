# SPDX-License-Identifier: Apache-2.0
"""Numbers that may only improve: ratchet.txt holds them, --tighten lowers them to the measured."""
import math
import os
import re
import subprocess

from tree import Finding

PATH = "tests/tidy/ratchet.txt"
WINDOW = 8
# name → (step a tightened value is rounded up to, never more than)
CAPS = {
    "dup8_host_percent": (0.5, 6.0),
    "dup8_kernels_percent": (0.5, 12.0),
    "todo_count": (1, 20),
    "largest_file_lines": (10, 400),
    "function_lines_p99": (5, 60),
}


def _code_lines(file):
    """Lines that say something: short ones and includes repeat everywhere and mean nothing."""
    squeezed = (re.sub(r"\s+", " ", line).strip() for line in file.code)
    return [line for line in squeezed if len(line) >= 7 and not line.startswith("#include")]


def duplication(files):
    """Share of code lines (percent) inside a window of 8 lines that stands elsewhere too."""
    texts = [_code_lines(file) for file in files]
    places = {}
    for index, lines in enumerate(texts):
        for start in range(len(lines) - WINDOW + 1):
            places.setdefault("\n".join(lines[start:start + WINDOW]), []).append((index, start))
    copied = {(index, start + i) for found in places.values() if len(found) > 1
              for index, start in found for i in range(WINDOW)}
    total = sum(map(len, texts))
    return 100.0 * len(copied) / total if total else 0.0


def measure(tree, functions):
    def under(top):
        return [f for f in tree.cpp() if f.path.startswith(top)]

    # Tests and benches keep the limit alone: a table of cases is no long function.
    lengths = sorted(f.lines for f in functions
                     if not f.device and f.path.startswith(("services/", "kernels/")))
    sources = [f for f in tree.files if f.is_source]
    return {
        "dup8_host_percent": duplication(under("services/")),
        "dup8_kernels_percent": duplication(under("kernels/")),
        "todo_count": sum(len(re.findall(r"\bTODO\(#", f.text)) for f in sources
                          if not f.path.startswith("tests/tidy/")),
        "largest_file_lines": max((len(f.lines) for f in sources), default=0),
        "function_lines_p99": lengths[int(0.99 * (len(lengths) - 1))] if lengths else 0,
    }


def parse(text):
    rows = (line.split("#")[0].split() for line in text.splitlines())
    return {row[0]: float(row[1]) for row in rows if len(row) == 2}


def check(measured, kept, before=None):
    """`before`: the numbers of the last commit, if known."""
    for name, (_, cap) in CAPS.items():
        if name not in kept:
            yield Finding(PATH, 1, "ratchet", f"{name} is missing")
            continue
        ceiling = min(cap, (before or {}).get(name, cap))
        if kept[name] > ceiling:
            what = f"{name} was raised to {kept[name]:g}; it may be {ceiling:g} at most"
            yield Finding(PATH, 1, "ratchet", what)
        if measured[name] > kept[name]:
            what = f"{name} is {measured[name]:.2f}, at most {kept[name]:g}"
            yield Finding(PATH, 1, "ratchet", what)


def tighten(measured, kept):
    out = dict(kept)
    for name, (step, cap) in CAPS.items():
        out[name] = min(kept.get(name, cap), math.ceil(measured[name] / step) * step)
    return out


def render(values):
    head = ("# SPDX-License-Identifier: Apache-2.0\n"
            "# Written by tests/tidy/tidy.py --tighten; a number may only fall.\n")
    return head + "".join(f"{name} {values[name]:g}\n" for name in CAPS)


def committed(root):
    """The numbers of HEAD, or None outside of git."""
    command = ["git", "-C", root, "show", f"HEAD:{PATH}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return parse(done.stdout) if done.returncode == 0 else None


def load(root):
    path = os.path.join(root, PATH)
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as stream:
        return parse(stream.read())
