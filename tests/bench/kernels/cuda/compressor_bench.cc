// SPDX-License-Identifier: Apache-2.0
// Goal: the compressors at their three sizes. Method: bench.h; decode steps in which every sequence
// ends a window (the dearest step), and a prefill of one sequence from its start.
#include <algorithm>

#include "kernels/kernel_table.h"
#include "tests/bench/kernels/cuda/inputs.h"

namespace tandem::kernels {
namespace {

constexpr int64_t kPages = 32;  // a sequence's: 8,192 tokens

float* Floats(int64_t n) {
  return reinterpret_cast<float*>(RandomBytes(4 * n, 5));
}

struct Shape {
  const char* name;
  int64_t ratio, dim;
  int64_t width() const { return ratio == 4 ? 2 * dim : dim; }
  int64_t slots() const { return ratio == 4 ? 8 : ratio; }
  int64_t row_bytes() const { return dim == 128 ? 68 : 584; }
};

BenchCase Compressor(const Shape& shape, int64_t sequences, int64_t tokens, int32_t first) {
  const int64_t t = sequences * tokens, width = shape.width();
  const int64_t rows = sequences * ((first + tokens) / shape.ratio - first / shape.ratio);
  // u and g in, the last of them to the state; of a decode step a window of the state in.
  const int64_t old = tokens == 1 ? sequences * shape.slots() * shape.dim * 8 : 0;
  const int64_t kept = sequences * std::min(tokens, shape.slots()) * width * 8;
  return {.name = std::string("compressor ") + shape.name,
          .tokens = t,
          .bytes = 8 * t * width + old + kept + rows * shape.row_bytes(),
          .flop = 0,
          .make = [=](int64_t sets) {
            const int64_t state = CompressorStateSize(shape.ratio, shape.dim) * sequences;
            const Batch batch = UploadBatch(sequences, tokens, first, kPages);
            float *u = Floats(sets * t * width), *g = Floats(sets * t * width);
            float *ape = Floats(shape.ratio * width), *states = Floats(sets * state);
            auto* norm = reinterpret_cast<Bf16*>(Floats(shape.dim));
            float* frequencies = Floats(32);
            const int64_t pages = sequences * kPages;
            uint8_t* pool = RandomBytes(pages * KvPageBytes(64), 9);
            return [=](int64_t set, Stream& stream) {
              CompressorArgs args{
                  .u = {u + set * t * width, {t, width}},
                  .g = {g + set * t * width, {t, width}},
                  .ape = {ape, {shape.ratio, width}},
                  .norm = {norm, {shape.dim}},
                  .norm_eps = 1e-6f,
                  .frequencies = {frequencies, {32}},
                  .batch = batch,
                  .state = {states + set * state, {sequences, 2, shape.slots(), width}}};
              if (shape.dim == 128) {
                args.indexer_rows = {.base = pool, .pages = pages};
              } else {
                args.kv_rows = {
                    .base = pool, .pages = pages, .rows_per_page = kPageTokens / shape.ratio};
              }
              kCudaKernels.compressor(args, stream);
            };
          }};
}

const Cases kCompressors("compressor", [] {
  std::vector<BenchCase> cases;
  for (const Shape& shape :
       {Shape{"CSA d=512", 4, 512}, Shape{"indexer d=128", 4, 128}, Shape{"HCA d=512", 128, 512}}) {
    cases.push_back(Compressor(shape, 1, 1, 1023));
    cases.push_back(Compressor(shape, 1, 1, 1022));
    cases.push_back(Compressor(shape, 64, 1, 1023));
    cases.push_back(Compressor(shape, 1, 4096, 0));
    cases.push_back(Compressor(shape, 1, 4096, 1022));
  }
  return cases;
});

}  // namespace
}  // namespace tandem::kernels
