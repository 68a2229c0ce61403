#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden cases of the kernels: inputs, and what the specification's numpy reading gives.

usage: make_goldens.py TOOLS OUT      TOOLS holds v4_reference.py and v4_checkpoint.py

A case is one file of tensors: for each, u32 name length, name, u32 dtype (0 u8, 1 bf16, 2 f32,
3 i32, 4 i64), u32 rank, i64 dims, bytes; little endian. The same call gives the same bytes.
"""
import struct
import sys

import numpy as np

F = np.float32
DIM, HEAD = 256, 512


def save(path, **tensors):
    """bf16 tensors come as ("bf16", float array of bf16 values)."""
    with open(path, "wb") as f:
        for name, value in tensors.items():
            if isinstance(value, tuple):
                kind, data = 1, v4.to_bf16(value[1]).reshape(np.shape(value[1]))
            else:
                data = np.ascontiguousarray(value)
                kind = {"uint8": 0, "float32": 2, "int32": 3, "int64": 4}[data.dtype.name]
            f.write(struct.pack("<I", len(name)) + name.encode())
            f.write(struct.pack("<II", kind, data.ndim))
            f.write(struct.pack(f"<{data.ndim}q", *data.shape) + data.tobytes())


def b(x):
    return ("bf16", x)


class Cases:
    def __init__(self, out):
        self.out, self.rng = out, np.random.default_rng(20260422)
        self.m = ref.Model.__new__(ref.Model)
        self.m.acc, self.m.cache, self.m.W = np.float64, {}, {}
        self.m.c = v4.released_config(hc_mult=4, n_routed_experts=4, num_experts_per_tok=2,
                                       num_hash_layers=1)
        # Frequencies come from the reading's own constructor, run on an empty folder.
        full = ref.Model.__new__(ref.Model)
        ref.json.load, keep = (lambda _: self.m.c), ref.json.load
        ref.open, ref.glob.glob = (lambda *_: None), (lambda _: [])
        full.__init__("")
        ref.json.load = keep
        del ref.open
        self.m.f_main, self.m.f_comp = full.f_main.astype(F), full.f_comp

    def normal(self, *shape, scale=1.0):
        return ref.bf(self.rng.standard_normal(shape) * scale)

    def save(self, name, **tensors):
        save(f"{self.out}/{name}.bin", **tensors)

    def fp8(self, n, k):
        return v4.quantise_fp8(self.rng.standard_normal((n, k)) * 0.05)

    def fp4(self, n, k):
        return v4.quantise_fp4(self.rng.standard_normal((n, k)) * 0.05)

    def norms(self):
        x, w = self.normal(3, DIM), self.normal(DIM)
        self.m.cache["w"] = w
        self.save("rms_norm", x=b(x), weight=b(w), y=b(self.m.rms(x, "w")))
        q = self.normal(2, 3, HEAD, scale=3)
        r = 1 / np.sqrt((q.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-6)
        self.save("head_norm", q=b(q), y=b(ref.bf(q * r.astype(F))))

    def rope(self):
        x, p = self.normal(4, 2, HEAD), np.array([0, 1, 1000, 1048575], np.int32)
        y = self.m.rope(x, p, self.m.f_comp)
        self.save("rope", positions=p, main=self.m.f_main, compress=self.m.f_comp, x=b(x), y=b(y),
                  y_main=b(self.m.rope(x, p, self.m.f_main)),
                  back=b(self.m.rope(y, p, self.m.f_comp, True)))

    def quantisers(self):
        x = self.normal(6, DIM) * np.exp2(np.arange(-12, 12, 4))[:, None].astype(F)
        x[0, :128] = 0
        self.save("act_quant", x=b(x), y=self.m.q8(x, 128))
        x = self.normal(6, 128) * np.exp2(np.arange(-12, 12, 4))[:, None].astype(F)
        y = self.m.hadamard(x)
        self.save("fp4", x=b(x), hadamard=b(y), y=self.m.q4(y))

    def linears(self):
        x = self.normal(3, DIM)
        w8, s8 = self.fp8(128, DIM)
        w4, s4 = self.fp4(64, DIM)
        self.m.cache.update(a=v4.dequantise_fp8(w8, s8), b=v4.dequantise_fp4(w4, s4))
        self.m.weight = lambda n: self.m.cache[n]
        wb, o = self.normal(10, DIM, scale=0.05), self.normal(3, 1, DIM)
        z = np.stack([ref.bf(self.m.mm(o[:, g], self.m.cache["a"])) for g in range(1)], 1)
        self.save("linears", x=b(x), w8=w8, s8=s8, y8=b(self.m.linear(x, "a")), w4=w4, s4=s4,
                  y4=b(self.m.linear(x, "b")), wb=b(wb), yb=self.m.mm(x, wb), o=b(o), z=b(z))

    def hc(self):
        X, y = self.normal(3, 4, DIM), self.normal(3, DIM)
        for n, k in (("p", 24), ("h", 4)):
            self.m.cache[n + "_fn"] = (self.rng.standard_normal((k, 4 * DIM)) * 0.05).astype(F)
            self.m.cache[n + "_base"] = self.rng.standard_normal(k).astype(F)
            self.m.cache[n + "_scale"] = self.rng.standard_normal(3 if k == 24 else 1).astype(F)
        x, post, comb = self.m.hc_pre(X, "p")
        names = [f"{n}_{s}" for n in "ph" for s in ("fn", "base", "scale")]
        self.save("hc", streams=b(X), x=b(x), post=post, comb=comb, y=b(y),
                  out=b(self.m.hc_post(y, X, post, comb)), head=b(self.m.hc_pre(X, "h")),
                  **{name: self.m.cache[name] for name in names})

    def compressor(self, name, ratio, dim, tokens, rotate):
        width = dim * (2 if ratio == 4 else 1)
        x, c = self.normal(tokens, 16), self.m.cache
        c["c.wkv.weight"], c["c.wgate.weight"] = self.normal(width, 16), self.normal(width, 16)
        c["c.ape"] = self.rng.standard_normal((ratio, width)).astype(F)
        c["c.norm.weight"] = self.normal(dim)
        keep, calls = ref.bf, []

        # The reading rounds pooled rows to bf16 before the norm; the design does not.
        def without_first(v):
            calls.append(1)
            return keep(v) if len(calls) > 1 else v
        ref.bf = without_first
        rows = self.m.compress(x, "c", ratio, dim, rotate)
        ref.bf = keep
        self.save(name, x=b(x), wkv=b(c["c.wkv.weight"]), wgate=b(c["c.wgate.weight"]),
                  ape=c["c.ape"], norm=b(c["c.norm.weight"]), frequencies=self.m.f_comp,
                  rows=rows.astype(F))

    def indexer(self):
        heads, rows, topk = 4, 40, 8
        q, k = self.m.q4(self.normal(2, heads, 128)), self.m.q4(self.normal(rows, 128))
        proj = self.rng.standard_normal((2, heads)).astype(F)
        w = ref.bf(ref.bf(proj) * F(128 ** -0.5 * heads ** -0.5))
        score = np.zeros((2, rows))
        for h in range(heads):
            dots = q[:, h].astype(np.float64) @ k.T.astype(np.float64)
            score += np.maximum(dots, 0) * w[:, h:h + 1]
        top = np.sort(np.argsort(-score.astype(F), axis=1, kind="stable")[:, :topk], axis=1)
        self.save("indexer_topk", q=b(q), k=b(k), proj=proj, top=top.astype(np.int32))

    def attention(self):
        n, heads = 37, 3
        keys = self.normal(n, HEAD)
        keys[:, :448] = ref.bf(self.m.q8(keys[:, :448], 64))
        q, sink = self.normal(1, heads, HEAD, scale=2), self.rng.standard_normal(heads).astype(F)
        s = (q[0].astype(np.float64) @ keys.T.astype(np.float64)).astype(F) * F(HEAD ** -0.5)
        top = s.max(-1, keepdims=True)
        p = np.exp(s - top)
        den = p.sum(-1, keepdims=True) + np.exp(sink[:, None] - top)
        o = ref.bf((ref.bf(p).astype(np.float64) @ keys.astype(np.float64)).astype(F) / den)
        lse = (top[:, 0] + np.log(p.astype(np.float64).sum(-1))).astype(F)
        self.save("sparse_attention", q=b(q), keys=b(keys), sink=sink, out=b(o[None]),
                  lse=lse[None])

    def moe(self):
        dim, inner, tokens, c = 128, 128, 5, {}
        for e in range(4):
            for n in ("w1", "w3", "w2"):
                c[f"{n}_{e}"], c[f"{n}_{e}_scale"] = self.fp4(dim, inner)
        for n in ("w1", "w3", "w2"):
            c[f"{n}_s"], c[f"{n}_s_scale"] = self.fp8(dim, inner)

        def weight(name):  # layers.L.ffn.experts.E.w1, layers.L.ffn.shared_experts.w1
            part = name.split(".")
            if part[3] == "experts":
                return v4.dequantise_fp4(c[f"{part[5]}_{part[4]}"], c[f"{part[5]}_{part[4]}_scale"])
            return v4.dequantise_fp8(c[part[4] + "_s"], c[part[4] + "_s_scale"])
        self.m.weight = weight
        x, gate = self.normal(tokens, dim, scale=4), self.normal(4, dim, scale=0.3)
        bias, ids = self.rng.standard_normal(4).astype(F), np.arange(tokens)
        tid2eid = np.array([[0, 1], [3, 2], [1, 3], [2, 0], [3, 0]], np.int64)
        for layer in (0, 1):
            self.m.cache[f"layers.{layer}.ffn.gate.weight"] = gate
        self.m.cache["layers.1.ffn.gate.bias"] = bias
        self.m.W["layers.0.ffn.gate.tid2eid"] = ("I64", tid2eid.shape, tid2eid)
        self.save("moe", x=b(x), gate=b(gate), bias=bias, tid2eid=tid2eid,
                  hash=b(self.m.moe(x, 0, ids)), score=b(self.m.moe(x, 1, ids)), **c)


def main():
    cases = Cases(sys.argv[2])
    cases.norms()
    cases.rope()
    cases.quantisers()
    cases.linears()
    cases.hc()
    cases.compressor("compressor_csa", 4, 512, 12, False)
    cases.compressor("compressor_hca", 128, 512, 128, False)
    cases.compressor("compressor_indexer", 4, 128, 12, True)
    cases.indexer()
    cases.attention()
    cases.moe()


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    import v4_checkpoint as v4
    import v4_reference as ref
    main()
