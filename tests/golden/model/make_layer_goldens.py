# SPDX-License-Identifier: Apache-2.0
"""Write one layer golden: the residual streams before chosen layers, and prompt log-probabilities, of one prompt.

usage: make_layer_goldens.py REFERENCE_FOLDER CHECKPOINT OUT.safetensors (--ids FILE CASE | --random N) [--streams L ...]

REFERENCE_FOLDER holds v4_reference.py, the executable specification, which is not part of this repository
(PROVENANCE.md). Written: ids I64 [T], streams_L BF16 [T, 4, hidden] (the input of layer L; L = num_hidden_layers is
the last layer's output), prompt_logprob F32 [T] (of each id given those before it; the first is 0).
"""
import argparse
import json
import sys

import numpy as np

from quantise import bf16_bits
from random_checkpoint import write_shard


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference")
    parser.add_argument("checkpoint")
    parser.add_argument("out")
    parser.add_argument("--ids", nargs=2, metavar=("FILE", "CASE"))
    parser.add_argument("--random", type=int)
    parser.add_argument("--streams", type=int, nargs="*", default=[])
    args = parser.parse_args()
    sys.path.insert(0, args.reference)
    import v4_reference

    model = v4_reference.Model(args.checkpoint)
    if args.ids:
        ids = np.asarray(json.load(open(args.ids[0]))["cases"][args.ids[1]]["prompt"])
    else:
        ids = np.random.Generator(np.random.PCG64(7)).integers(0, model.c["vocab_size"], args.random)
    streams, kept = model.embed(ids), {}
    for layer in range(model.c["num_hidden_layers"] + 1):
        if layer in args.streams:
            kept[f"streams_{layer}"] = ("BF16", bf16_bits(streams))
        if layer < model.c["num_hidden_layers"]:
            streams = model.layer(streams, layer, ids)
    logits = model.logits(streams).astype(np.float64)
    peak = logits.max(-1, keepdims=True)
    logprob = logits - peak - np.log(np.exp(logits - peak).sum(-1, keepdims=True))
    prompt = np.concatenate([[0], logprob[np.arange(len(ids) - 1), ids[1:]]])
    write_shard(args.out, {"ids": ("I64", ids.astype(np.int64)), **kept,
                           "prompt_logprob": ("F32", prompt.astype(np.float32))})


if __name__ == "__main__":
    main()
