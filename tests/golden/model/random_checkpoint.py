# SPDX-License-Identifier: Apache-2.0
"""Write a small DeepSeek-V4 checkpoint of random parameters in the released file layout.

usage: random_checkpoint.py FOLDER [--seed N] [--set field=JSON ...]

Equal arguments give equal bytes on every machine; tests rely on it (PROVENANCE.md). No parameter
keeps a value that could hide a mistake: sinks, position biases, hyper-connections, norms, router
biases and hash tables are all drawn, and expert weights are large enough to reach the SwiGLU clamp.
"""
import argparse
import json
import os
import struct

import numpy as np

from quantise import bf16_bits, fp4_rows, fp8_blocks

SHARD_BYTES = 12_000_000

RELEASED = {
    "architectures": ["DeepseekV4ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "bos_token_id": 0, "eos_token_id": 1, "hc_eps": 1e-06, "hc_mult": 4, "hc_sinkhorn_iters": 20,
    "head_dim": 512, "hidden_act": "silu", "hidden_size": 512, "index_head_dim": 128,
    "index_n_heads": 8, "index_topk": 64, "initializer_range": 0.02,
    "max_position_embeddings": 1048576, "model_type": "deepseek_v4", "moe_intermediate_size": 256,
    "n_routed_experts": 16, "n_shared_experts": 1, "norm_topk_prob": True,
    "num_attention_heads": 8, "num_experts_per_tok": 6, "num_hidden_layers": 6,
    "num_hash_layers": 2, "num_key_value_heads": 1, "num_nextn_predict_layers": 0, "o_groups": 2,
    "o_lora_rank": 128, "q_lora_rank": 256, "qk_rope_head_dim": 64,
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                            "scale_fmt": "ue8m0", "weight_block_size": [128, 128]},
    "rms_norm_eps": 1e-06,
    "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 16,
                     "original_max_position_embeddings": 65536, "type": "yarn"},
    "rope_theta": 10000, "routed_scaling_factor": 1.5, "scoring_func": "sqrtsoftplus",
    "sliding_window": 128, "swiglu_limit": 10.0, "tie_word_embeddings": False,
    "topk_method": "noaux_tc", "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 2048,
    "compress_rope_theta": 160000, "compress_ratios": [0, 0, 4, 128, 4, 128],
}


class Drawer:
    """Draws tensors from one generator, in the order of the calls, into `tensors`."""

    def __init__(self, seed):
        self.random = np.random.Generator(np.random.PCG64(seed))
        self.tensors = {}

    def normal(self, *shape):
        return self.random.standard_normal(shape)

    def bf16(self, name, values):
        self.tensors[name] = ("BF16", bf16_bits(values))

    def f32(self, name, values):
        self.tensors[name] = ("F32", np.asarray(values, np.float32))

    def norm(self, name, width):
        self.bf16(name + ".weight", 1 + 0.1 * self.normal(width))

    def fp8(self, name, rows, columns, gain=1.0):
        codes, scales = fp8_blocks(gain * self.normal(rows, columns) / np.sqrt(columns))
        self.tensors[name + ".weight"] = ("F8_E4M3", codes)
        self.tensors[name + ".scale"] = ("F8_E8M0", scales)

    def fp4(self, name, rows, columns, gain):
        codes, scales = fp4_rows(gain * self.normal(rows, columns) / np.sqrt(columns))
        self.tensors[name + ".weight"] = ("I8", codes)
        self.tensors[name + ".scale"] = ("F8_E8M0", scales)

    def dense(self, name, rows, columns, gain=1):
        self.bf16(name + ".weight", gain * self.normal(rows, columns) / np.sqrt(columns))

    def hyper_connection(self, name, rows, scales, columns):
        self.f32(name + "_fn", 0.05 * self.normal(rows, columns))
        self.f32(name + "_base", self.normal(rows))
        self.f32(name + "_scale", self.random.uniform(0.3, 1.0, scales))

    def compressor(self, name, ratio, width, hidden):
        outputs = 2 * width if ratio == 4 else width
        self.f32(name + ".ape", 0.5 * self.normal(ratio, outputs))
        self.dense(name + ".wkv", outputs, hidden)
        self.dense(name + ".wgate", outputs, hidden)
        self.norm(name + ".norm", width)


def draw_attention(d, c, name, ratio):
    hidden, head, latent = c["hidden_size"], c["head_dim"], c["q_lora_rank"]
    all_heads, groups = c["num_attention_heads"] * head, c["o_groups"]
    d.fp8(name + "wq_a", latent, hidden)
    d.norm(name + "q_norm", latent)
    d.fp8(name + "wq_b", all_heads, latent)
    d.fp8(name + "wkv", head, hidden)
    d.norm(name + "kv_norm", head)
    d.fp8(name + "wo_a", groups * c["o_lora_rank"], all_heads // groups)
    d.fp8(name + "wo_b", hidden, groups * c["o_lora_rank"])
    d.f32(name + "attn_sink", d.normal(c["num_attention_heads"]))
    if ratio:
        d.compressor(name + "compressor", ratio, head, hidden)
    if ratio == 4:
        d.fp8(name + "indexer.wq_b", c["index_n_heads"] * c["index_head_dim"], latent)
        d.dense(name + "indexer.weights_proj", c["index_n_heads"], hidden)
        d.compressor(name + "indexer.compressor", 4, c["index_head_dim"], hidden)


def draw_moe(d, c, name, hashed):
    hidden, inner, experts = c["hidden_size"], c["moe_intermediate_size"], c["n_routed_experts"]
    d.dense(name + "gate", experts, hidden, gain=2)
    if hashed:
        chosen = c["num_experts_per_tok"]
        table = [d.random.permutation(experts)[:chosen] for _ in range(c["vocab_size"])]
        d.tensors[name + "gate.tid2eid"] = ("I64", np.stack(table).astype(np.int64))
    else:
        d.f32(name + "gate.bias", 0.05 * d.normal(experts))
    for expert in range(experts):
        d.fp4(f"{name}experts.{expert}.w1", inner, hidden, 4.0)
        d.fp4(f"{name}experts.{expert}.w2", hidden, inner, 0.5)
        d.fp4(f"{name}experts.{expert}.w3", inner, hidden, 4.0)
    d.fp8(name + "shared_experts.w1", inner, hidden, 4.0)
    d.fp8(name + "shared_experts.w2", hidden, inner, 0.5)
    d.fp8(name + "shared_experts.w3", inner, hidden, 4.0)


def draw(c, seed):
    d = Drawer(seed)
    hidden, streams = c["hidden_size"], c["hc_mult"]
    mixes = streams * (streams + 2)
    d.bf16("embed.weight", d.normal(c["vocab_size"], hidden))
    d.dense("head", c["vocab_size"], hidden, gain=2)
    d.norm("norm", hidden)
    d.hyper_connection("hc_head", streams, 1, streams * hidden)
    for layer in range(c["num_hidden_layers"]):
        name = f"layers.{layer}."
        d.norm(name + "attn_norm", hidden)
        d.norm(name + "ffn_norm", hidden)
        d.hyper_connection(name + "hc_attn", mixes, 3, streams * hidden)
        d.hyper_connection(name + "hc_ffn", mixes, 3, streams * hidden)
        draw_attention(d, c, name + "attn.", c["compress_ratios"][layer])
        draw_moe(d, c, name + "ffn.", layer < c["num_hash_layers"])
    return d.tensors


def split(tensors):
    """Consecutive tensors up to SHARD_BYTES a shard."""
    shards, size = [{}], 0
    for name, (dtype, values) in tensors.items():
        if shards[-1] and size + values.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = (dtype, values)
        size += values.nbytes
    return shards


def write_shard(path, shard):
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, values) in shard.items():
        offsets = [end, end + values.nbytes]
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": offsets}
        end = offsets[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, values in shard.values():
            out.write(np.ascontiguousarray(values).tobytes())


def write(folder, config, tensors):
    os.makedirs(folder, exist_ok=True)
    shards, weight_map = split(tensors), {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_shard(os.path.join(folder, file), shard)
        weight_map.update(dict.fromkeys(shard, file))
    total = sum(values.nbytes for _, values in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as out:
        json.dump(index, out, indent=0)
    with open(os.path.join(folder, "config.json"), "w") as out:
        json.dump(config, out, indent=2)


def main():
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="field=JSON")
    args = parser.parse_args()
    pairs = (item.split("=", 1) for item in args.set)
    changes = {field: json.loads(value) for field, value in pairs}
    config = {**RELEASED, **changes}
    write(args.folder, config, draw(config, args.seed))


if __name__ == "__main__":
    main()
