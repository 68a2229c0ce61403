#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: what others would run there: MoE forward, sparse decode and the indexer as the public SM120
fallbacks compute them (Triton, PyTorch), on the same GPU, in graphs, with cold caches.
Method: the shapes of kernels_cuda_bench; the ratio is taken against its table where it has the row.

    peers.py [KERNELS_MD]

As published: the MoE has one program a (token, expert) slot and block of outputs, fp32 products on
CUDA cores, float32 scales, SwiGLU and the sum over slots in PyTorch; sparse decode one program a
(token, head), which reads the rows again for every head; the indexer gathers all pages to fp32,
multiplies by bmm, and takes ReLU, weight, sum and top-k in PyTorch.
"""
import re
import sys

import torch
import triton
import triton.language as tl

DEVICE = "cuda"
CACHE_BYTES = 256 << 20


@triton.jit
def slot_gemv(x, w, scale, experts, y, n, k, slots_a_row: tl.constexpr, block_n: tl.constexpr,
              block_k: tl.constexpr):
    """y[slot, n] = x[slot / slots_a_row, :] · W[expert of slot][n, :], FP4 codes two a byte."""
    slot = tl.program_id(0)
    rows = tl.program_id(1) * block_n + tl.arange(0, block_n)
    expert = tl.load(experts + slot).to(tl.int64)
    sums = tl.zeros((block_n,), dtype=tl.float32)
    columns = tl.arange(0, block_k // 2)
    for start in range(0, k, block_k):
        at = expert * n * (k // 2) + rows[:, None] * (k // 2) + start // 2 + columns[None, :]
        packed = tl.load(w + at)
        scales = tl.load(scale + expert * n * (k // 32) + rows[:, None] * (k // 32)
                         + (start + 2 * columns[None, :]) // 32)
        base = x + (slot // slots_a_row) * k + start + 2 * columns
        for half in tl.static_range(2):
            code = (packed >> (4 * half)) & 15
            magnitude = code & 7
            exponent, mantissa = magnitude >> 1, (magnitude & 1).to(tl.float32)
            value = tl.where(exponent == 0, 0.5 * mantissa,
                             (1.0 + 0.5 * mantissa) * tl.exp2((exponent - 1).to(tl.float32)))
            value = tl.where(code >= 8, -value, value) * scales
            sums += tl.sum(value * tl.load(base + half).to(tl.float32)[None, :], axis=1)
    tl.store(y + slot * n + rows, sums)


@triton.jit
def head_decode(q, rows, index, out, count, heads, block_t: tl.constexpr):
    """One query head over its rows of 512 bf16 values, online softmax."""
    token, head = tl.program_id(0), tl.program_id(1)
    d = tl.arange(0, 512)
    query = tl.load(q + (token * heads + head) * 512 + d).to(tl.float32)
    most = tl.full((), -float("inf"), tl.float32)
    total = tl.zeros((), tl.float32)
    sums = tl.zeros((512,), dtype=tl.float32)
    for start in range(0, count, block_t):
        t = start + tl.arange(0, block_t)
        row = tl.load(index + token * count + t, mask=t < count, other=-1)
        key = tl.load(rows + row[:, None].to(tl.int64) * 512 + d[None, :], mask=row[:, None] >= 0,
                      other=0.0).to(tl.float32)
        score = tl.sum(key * query[None, :], axis=1) * 0.04419417382415922
        score = tl.where(row >= 0, score, -float("inf"))
        new = tl.maximum(most, tl.max(score))
        p = tl.exp(score - new)
        kept = tl.exp(most - new)
        total = total * kept + tl.sum(p)
        sums = sums * kept + tl.sum(p[:, None] * key, axis=0)
        most = new
    tl.store(out + (token * heads + head) * 512 + d, (sums / total).to(tl.bfloat16))


def time_graph(run, sets):
    """Median seconds of one run: a graph of one run on every set, replayed."""
    for i in range(sets):
        run(i)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(sets):
            run(i)
    seconds = []
    for _ in range(12):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        seconds.append(begin.elapsed_time(end) * 1e-3 / sets)
    return sorted(seconds)[len(seconds) // 2]


def moe(tokens, dim=4096, inter=1024, experts=256, topk=6):
    """The fallback's forward: two products, SwiGLU with clamp, a product, a sum over slots."""
    w13 = torch.randint(0, 255, (experts, 2 * inter, dim // 2), dtype=torch.uint8, device=DEVICE)
    w2 = torch.randint(0, 255, (experts, dim, inter // 2), dtype=torch.uint8, device=DEVICE)
    s13 = torch.full((experts, 2 * inter, dim // 32), 2.0**-6, device=DEVICE)
    s2 = torch.full((experts, dim, inter // 32), 2.0**-6, device=DEVICE)
    x = torch.randn(tokens, dim, device=DEVICE, dtype=torch.bfloat16)
    slots, sets = tokens * topk, 8
    ids = [torch.stack([torch.randperm(experts, device=DEVICE)[:topk] for _ in range(tokens)])
           .flatten().to(torch.int32) for _ in range(sets)]
    weight = torch.rand(slots, 1, device=DEVICE)

    def run(i):
        h = torch.empty(slots, 2 * inter, device=DEVICE)
        slot_gemv[(slots, 2 * inter // 32)](x, w13, s13, ids[i], h, 2 * inter, dim, topk, 32, 128)
        gate, up = h[:, :inter].clamp(max=10), h[:, inter:].clamp(-10, 10)
        t = (torch.nn.functional.silu(gate) * up * weight).to(torch.bfloat16)
        y = torch.empty(slots, dim, device=DEVICE)
        slot_gemv[(slots, dim // 32)](t, w2, s2, ids[i], y, dim, inter, 1, 32, 128)
        return y.view(tokens, topk, dim).sum(1).to(torch.bfloat16)

    return time_graph(run, sets)


def sparse_decode(tokens, heads=32, keys=640):
    """The fallback dequantises rows first; here they are bf16 already, to its advantage."""
    sets = max(2, CACHE_BYTES // (tokens * keys * 1024))
    sets = min(sets, 64)
    rows = torch.randn(sets * tokens * keys, 512, device=DEVICE, dtype=torch.bfloat16)
    q = torch.randn(tokens, heads, 512, device=DEVICE, dtype=torch.bfloat16)
    index = [(torch.arange(tokens * keys, device=DEVICE, dtype=torch.int32) + i * tokens * keys)
             .view(tokens, keys) for i in range(sets)]
    out = torch.empty_like(q)

    def run(i):
        head_decode[(tokens, heads)](q, rows, index[i], out, keys, heads, 16)

    return time_graph(run, sets)


def indexer(tokens, context, heads=64, topk=512):
    """Pages to fp32, bmm, ReLU, weight, sum, top-k."""
    rows = context // 4
    codes = torch.randint(0, 255, (tokens, rows, 64), dtype=torch.uint8, device=DEVICE)
    scales = torch.full((tokens, rows, 4, 1), 0.25, device=DEVICE)
    values = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6, 0, -.5, -1, -1.5, -2, -3, -4, -6],
                          device=DEVICE)
    q = torch.randn(tokens, heads, 128, device=DEVICE)
    w = torch.randn(tokens, heads, 1, device=DEVICE)

    def run(_):
        pair = torch.stack((codes & 15, codes >> 4), dim=-1).view(tokens, rows, 128)
        keys = (values[pair.int()].view(tokens, rows, 4, 32) * scales).view(tokens, rows, 128)
        score = (torch.relu(torch.bmm(q, keys.transpose(1, 2))) * w).sum(1)
        return score.topk(topk, dim=1).indices

    return time_graph(run, 2)


def ours(path):
    """Name and tokens → µs, of kernels_cuda_bench's table."""
    rows = {}
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            cells = [cell.strip() for cell in line.split("|")[1:-1]]
            if len(cells) == 9 and re.fullmatch(r"\d+", cells[1]):
                rows[cells[0], int(cells[1])] = float(cells[4])
    return rows


def main():
    mine = ours(sys.argv[1]) if len(sys.argv) > 1 else {}
    cases = [("moe_experts Flash/2", t, lambda t=t: moe(t)) for t in (1, 8)]
    cases += [("sparse_attention CSA H=32 keys=640", t, lambda t=t: sparse_decode(t))
              for t in (1, 64)]
    cases += [("indexer_topk 256K", t, lambda t=t: indexer(t, 262144)) for t in (1, 8)]
    print("| operation | tokens | fallback µs | Tandem µs | ratio |\n|---|--:|--:|--:|--:|")
    for name, tokens, run in cases:
        theirs = run() * 1e6
        own = mine.get((name, tokens))
        print(f"| {name} | {tokens} | {theirs:.1f} | {f'{own:.1f}' if own else '–'} | "
              f"{f'{theirs / own:.1f}' if own else '–'} |", flush=True)


if __name__ == "__main__":
    main()
