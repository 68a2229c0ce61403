# SPDX-License-Identifier: Apache-2.0
"""Rewrite the layer goldens, from the executable specification.

usage: make_layer_goldens.py REFERENCE_FOLDER

REFERENCE_FOLDER holds v4_reference.py, which is not part of this repository (PROVENANCE.md).
Written beside this script, for one prompt of each checkpoint of PLAN:
layers_NAME.safetensors   ids I64 [T]; streams_L BF16 [T, 4, hidden], the input of layer L
                          (L = num_hidden_layers: the last layer's output); prompt_logprob F32 [T]
                          of each id given those before it, the first 0
router_gaps.safetensors   NAME_L F32 [T]: the score of layer L's last chosen expert minus that of
                          the first not chosen; where it is small, two right implementations may
                          choose differently. Hash layers have none.
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

from quantise import bf16_bits
from random_checkpoint import write_shard

HERE = os.path.dirname(os.path.abspath(__file__))
# name, (golden file, case) or a number of random ids, layers whose streams are kept
PLAN = (
    ("tiny", ("golden_tiny.json", "turns"), range(7)),
    ("random_a", ("golden_random_a.json", "n131"), range(1, 5)),
    ("random_b", 131, range(2, 5)),
    ("random_c", 139, range(6)),
)


def checkpoint_folder(name, scratch):
    if name == "tiny":
        return os.path.join(HERE, "../../../deploy/models/tiny-v4")
    folder = os.path.join(scratch, name)
    subprocess.run([os.path.join(HERE, "write_random.sh"), name[-1], folder], check=True)
    return folder


def prompt_of(source, vocab_size):
    if isinstance(source, int):
        return np.random.Generator(np.random.PCG64(7)).integers(0, vocab_size, source)
    with open(os.path.join(HERE, source[0])) as golden:
        return np.asarray(json.load(golden)["cases"][source[1]]["prompt"])


def router_gap(model, layer, streams):
    """Repeats a layer up to its router."""
    name = f"layers.{layer}."
    x, post, comb = model.hc_pre(streams, name + "hc_attn")
    y = model.attention(model.rms(x, name + "attn_norm.weight"), layer)
    x, _, _ = model.hc_pre(model.hc_post(y, streams, post, comb), name + "hc_ffn")
    logits = model.mm(model.rms(x, name + "ffn_norm.weight"), model.f32(name + "ffn.gate.weight"))
    scores = np.sqrt(np.logaddexp(0, logits)) + model.f32(name + "ffn.gate.bias")
    ranked = -np.sort(-scores, axis=1)
    chosen = model.c["num_experts_per_tok"]
    return ranked[:, chosen - 1] - ranked[:, chosen]


def prompt_logprob(model, streams, ids):
    logits = model.logits(streams).astype(np.float64)
    peak = logits.max(-1, keepdims=True)
    logprob = logits - peak - np.log(np.exp(logits - peak).sum(-1, keepdims=True))
    return np.concatenate([[0], logprob[np.arange(len(ids) - 1), ids[1:]]])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.path.insert(0, sys.argv[1])
    import v4_reference

    gaps = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, source, kept in PLAN:
            model = v4_reference.Model(checkpoint_folder(name, scratch))
            ids = prompt_of(source, model.c["vocab_size"])
            tensors = {"ids": ("I64", ids.astype(np.int64))}
            streams = model.embed(ids)
            for layer in range(model.c["num_hidden_layers"] + 1):
                if layer in kept:
                    tensors[f"streams_{layer}"] = ("BF16", bf16_bits(streams))
                if layer == model.c["num_hidden_layers"]:
                    break
                if layer in kept and layer >= model.c["num_hash_layers"]:
                    gap = router_gap(model, layer, streams)
                    gaps[f"{name}_{layer}"] = ("F32", gap.astype(np.float32))
                streams = model.layer(streams, layer, ids)
            logprob = prompt_logprob(model, streams, ids)
            tensors["prompt_logprob"] = ("F32", logprob.astype(np.float32))
            write_shard(os.path.join(HERE, f"layers_{name}.safetensors"), tensors)
    write_shard(os.path.join(HERE, "router_gaps.safetensors"), gaps)


if __name__ == "__main__":
    main()
