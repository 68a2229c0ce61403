#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The style gate: reads the whole tree and names every place that breaks a rule of CONTRIBUTING.md.

tidy.py [--root DIR] [--only RULE[,RULE]] [--tighten]    exits with 1 when there is a finding.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys

import build_rules
import doc_rules
import functions
import kernel_rules
import layers
import ratchet
import text_rules
import tree as trees
from tree import Finding

HERE = os.path.dirname(os.path.abspath(__file__))


def format_findings(root, paths):
    command = ["clang-format", "--dry-run", "-Werror", "--ferror-limit=1", *paths]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    for match in re.finditer(r"^(\S+?):(\d+):\d+: error: ", done.stderr, re.M):
        yield Finding(match.group(1), int(match.group(2)), "format", "clang-format -i this file")


def check_format(tree):
    paths = [f.path for f in tree.cpp()]
    shares = [s for s in (paths[i::4] for i in range(4)) if s]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda share: list(format_findings(tree.root, share)), shares):
            yield from found


def all_findings(tree):
    lengths = functions.all_functions(tree)
    for check in (text_rules, layers, build_rules, doc_rules, kernel_rules):
        yield from check.check(tree)
    yield from functions.check(lengths)
    yield from check_format(tree)
    measured = ratchet.measure(tree, lengths)
    yield from ratchet.check(measured, ratchet.load(tree.root), ratchet.committed(tree.root))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--root", default=os.path.dirname(os.path.dirname(HERE)))
    parser.add_argument("--only", default="", help="rules to show, with commas")
    parser.add_argument("--tighten", action="store_true", help="lower ratchet.txt to the measured")
    args = parser.parse_args()
    tree = trees.load(os.path.abspath(args.root))
    if args.tighten:
        measured = ratchet.measure(tree, functions.all_functions(tree))
        values = ratchet.tighten(measured, ratchet.load(tree.root))
        with open(os.path.join(tree.root, ratchet.PATH), "w", encoding="utf-8") as stream:
            stream.write(ratchet.render(values))
        return 0
    only = set(filter(None, args.only.split(",")))
    found = [f for f in all_findings(tree) if not only or f.rule in only]
    for finding in sorted(found, key=lambda f: (f.path, f.line)):
        print(finding)
    print(f"tidy: {len(tree.files)} files, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
