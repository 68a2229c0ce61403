// SPDX-License-Identifier: Apache-2.0
// Goal: the indexer at Flash's sizes, from 8K to 1M tokens of context. Method: bench.h; random
// codes, scales within 2^2 as after a Hadamard rotation, pages in order.
#include <cuda_runtime_api.h>

#include <string>
#include <vector>

#include "kernels/kernel_table.h"
#include "tests/bench/kernels/cuda/inputs.h"

namespace tandem::kernels {
namespace {

constexpr int64_t kHeads = 64;
constexpr int64_t kTopk = 512;

std::vector<uint8_t> SomeScales(int64_t n) {
  std::vector<uint8_t> scales(static_cast<size_t>(n));
  for (size_t i = 0; i < scales.size(); ++i) {
    scales[i] = static_cast<uint8_t>(124 + ((i * 2654435761u) >> 13) % 3);
  }
  return scales;
}

// Device memory of `sets` batches of sequences.
struct Input {
  int64_t sequences, tokens, pages;  // of a set; tokens of a sequence, pages of a sequence
  uint8_t *pool, *q;
  Ue8m0* q_scale;
  float* proj;
  Batch batch;
  int32_t* rows;
};

Input MakeInput(int64_t sets, int64_t sequences, int64_t tokens, int64_t context) {
  const int64_t all = sequences * tokens, pages = context / kPageTokens;
  Input in{.sequences = sequences, .tokens = tokens, .pages = pages};
  const int64_t pool_pages = sets * sequences * pages;
  in.pool = RandomBytes(pool_pages * kIndexPageBytes, 11);
  const auto scales = SomeScales(pool_pages * kBlockRows * kIndexRowScales);
  KERNEL_CHECK_EQ(
      cudaMemcpy2D(in.pool + kBlockRows * kIndexRowBytes, kIndexPageBytes, scales.data(),
                   kBlockRows * kIndexRowScales, kBlockRows * kIndexRowScales,
                   static_cast<size_t>(pool_pages), cudaMemcpyHostToDevice),
      cudaSuccess);
  in.q = RandomBytes(all * kHeads * kIndexRowBytes, 12);
  in.q_scale = reinterpret_cast<Ue8m0*>(Upload(SomeScales(all * kHeads * kIndexRowScales)));
  std::vector<float> proj(static_cast<size_t>(all * kHeads));
  for (size_t i = 0; i < proj.size(); ++i) proj[i] = static_cast<float>(i % 7) - 2.0f;
  in.proj = Upload(proj);
  in.batch = UploadBatch(sequences, tokens, context - tokens, pages);
  in.rows = reinterpret_cast<int32_t*>(RandomBytes(4 * all * kTopk, 13));
  return in;
}

BenchCase IndexerTopk(const std::string& name, int64_t sequences, int64_t tokens, int64_t context) {
  const int64_t rows = context / 4, all = sequences * tokens;
  const int64_t bytes = sequences * rows * (kIndexRowBytes + kIndexRowScales);
  return {.name = "indexer_topk " + name,
          .tokens = all,
          .bytes = bytes,
          .flop = 2 * all * rows * kHeads * kIndexDim,
          .bar = tokens == 1 && context == 256 * 1024 ? 0.7 : 0,
          .make = [=](int64_t sets) {
            const Input in = MakeInput(sets, sequences, tokens, context);
            return [=](int64_t set, Stream& stream) {
              const int64_t pages = in.sequences * in.pages;
              kCudaKernels.indexer_topk(
                  {.q = {in.q, {all, kHeads, kIndexRowBytes}},
                   .q_scale = {in.q_scale, {all, kHeads, kIndexRowScales}},
                   .proj = {in.proj, {all, kHeads}},
                   .weight_scale = 0.011f,
                   .batch = in.batch,
                   .keys = {.base = in.pool + set * pages * kIndexPageBytes, .pages = pages},
                   .rows = {in.rows, {all, kTopk}}},
                  stream);
            };
          }};
}

const Cases kIndex("index", [] {
  constexpr int64_t kK = 1024;
  return std::vector<BenchCase>{IndexerTopk("4K", 1, 1, 4 * kK),
                                IndexerTopk("4K", 8, 1, 4 * kK),
                                IndexerTopk("4K", 64, 1, 4 * kK),
                                IndexerTopk("8K", 1, 1, 8 * kK),
                                IndexerTopk("8K", 64, 1, 8 * kK),
                                IndexerTopk("32K", 1, 1, 32 * kK),
                                IndexerTopk("256K", 1, 1, 256 * kK),
                                IndexerTopk("256K", 8, 1, 256 * kK),
                                IndexerTopk("256K", 64, 1, 256 * kK),
                                IndexerTopk("1M", 1, 1, 1024 * kK),
                                IndexerTopk("prefill 8K", 1, 2048, 8 * kK),
                                IndexerTopk("prefill 32K", 1, 2048, 32 * kK),
                                IndexerTopk("prefill 128K", 1, 1024, 128 * kK)};
});

}  // namespace
}  // namespace tandem::kernels
