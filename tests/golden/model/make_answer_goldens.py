# SPDX-License-Identifier: Apache-2.0
"""Rewrite the end-to-end goldens of checkpoints b, c and d, from the executable specification.

usage: make_answer_goldens.py REFERENCE_FOLDER

REFERENCE_FOLDER holds v4_reference.py, which is not part of this repository (PROVENANCE.md).
Written into shapes/: golden_random_b.json, …_c.json, …_d.json, in the form of golden_random_a.json.
Every answer token costs a whole forward pass: some minutes in all.
"""
import json
import os
import sys
import tempfile

import numpy as np

from make_layer_goldens import HERE, checkpoint_folder, prompt_of

TOP = 8
DIGITS = 5
# checkpoint → (prompt tokens, answer tokens). Long ones pass the window, a page of 256 tokens (b)
# and index_topk compressed rows (b, c, d).
PLAN = {
    "random_b": ((5, 16), (300, 8)),
    "random_c": ((5, 16), (139, 12)),
    "random_d": ((5, 16), (150, 16)),
}


def rounded(value):
    return round(float(value), DIGITS)


def best(logprob):
    order = np.argsort(-logprob, kind="stable")[:TOP]
    return [[int(token), rounded(logprob[token])] for token in order]


def case_of(model, length, steps):
    prompt = [int(token) for token in prompt_of(length, model.c["vocab_size"])]
    rows = model.logprobs(prompt)
    ranked = -np.sort(-rows, axis=1)
    case = {
        "prompt": prompt,
        "prompt_logprob": [None] + [rounded(rows[i, t]) for i, t in enumerate(prompt[1:])],
        "last_top": best(rows[-1]),
        "argmax": [int(row.argmax()) for row in rows],
        "margin": [rounded(row[0] - row[1]) for row in ranked],
        "decode": [],
    }
    tokens = list(prompt)
    for _ in range(steps):
        top = best(rows[-1])
        tokens.append(top[0][0])
        case["decode"].append({"token": top[0][0], "top": top})
        rows = model.logprobs(tokens)
    return case


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.path.insert(0, sys.argv[1])
    import v4_reference

    with tempfile.TemporaryDirectory() as scratch:
        for name, cases in PLAN.items():
            model = v4_reference.Model(checkpoint_folder(name, scratch))
            golden = {
                "checkpoint": name.replace("_", "-"),
                "cases": {f"n{length}": case_of(model, length, steps) for length, steps in cases},
            }
            with open(os.path.join(HERE, "shapes", f"golden_{name}.json"), "w") as out:
                json.dump(golden, out)
                out.write("\n")


if __name__ == "__main__":
    main()
