// SPDX-License-Identifier: Apache-2.0
// Goal: the compressors at their three sizes. Method: bench.h; decode steps in which every sequence
// ends a window (the dearest step), and a prefill of one sequence from its start. qkv_finish with
// all that a layer's decode step has, ending windows and not, at once and one by one.
#include <algorithm>
#include <vector>

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

// A step's compressor; u and g of each set, state of each set.
class Side {
 public:
  Side(const Shape& shape, const Batch& batch, int64_t sets)
      : shape_(shape),
        batch_(batch),
        state_(CompressorStateSize(shape.ratio, shape.dim) * batch.sequences()),
        u_(Floats(sets * batch.tokens() * shape.width())),
        g_(Floats(sets * batch.tokens() * shape.width())),
        ape_(Floats(shape.ratio * shape.width())),
        states_(Floats(sets * state_)),
        norm_(reinterpret_cast<Bf16*>(Floats(shape.dim))),
        frequencies_(Floats(32)),
        pool_(RandomBytes(batch.sequences() * kPages * KvPageBytes(64), 9)) {}

  CompressorArgs At(int64_t set) const {
    const int64_t t = batch_.tokens(), width = shape_.width(), pages = batch_.sequences() * kPages;
    CompressorArgs args{
        .u = {u_ + set * t * width, {t, width}},
        .g = {g_ + set * t * width, {t, width}},
        .ape = {ape_, {shape_.ratio, width}},
        .norm = {norm_, {shape_.dim}},
        .norm_eps = 1e-6f,
        .frequencies = {frequencies_, {32}},
        .batch = batch_,
        .state = {states_ + set * state_, {batch_.sequences(), 2, shape_.slots(), width}}};
    if (shape_.dim == 128) {
      args.indexer_rows = {.base = pool_, .pages = pages};
    } else {
      args.kv_rows = {.base = pool_, .pages = pages, .rows_per_page = kPageTokens / shape_.ratio};
    }
    return args;
  }

 private:
  Shape shape_;
  Batch batch_;
  int64_t state_;
  float *u_, *g_, *ape_, *states_;
  Bf16* norm_;
  float* frequencies_;
  uint8_t* pool_;
};

// Bytes of a step: u and g in, the last of them to the state; of a decode step a window of the
// state in.
int64_t BytesOf(const Shape& shape, int64_t sequences, int64_t tokens, int64_t first) {
  const int64_t rows = sequences * ((first + tokens) / shape.ratio - first / shape.ratio);
  const int64_t old = tokens == 1 ? sequences * shape.slots() * shape.dim * 8 : 0;
  const int64_t kept = sequences * std::min(tokens, shape.slots()) * shape.width() * 8;
  return 8 * sequences * tokens * shape.width() + old + kept + rows * shape.row_bytes();
}

BenchCase Compressor(const Shape& shape, int64_t sequences, int64_t tokens, int32_t first) {
  return {.name = std::string("compressor ") + shape.name,
          .tokens = sequences * tokens,
          .bytes = BytesOf(shape, sequences, tokens, first),
          .flop = 0,
          .make = [=](int64_t sets) {
            const Side side(shape, UploadBatch(sequences, tokens, first, kPages), sets);
            return
                [=](int64_t set, Stream& stream) { kCudaKernels.compressor(side.At(set), stream); };
          }};
}

constexpr Shape kCsa = {"CSA d=512", 4, 512}, kIndexer = {"indexer d=128", 4, 128},
                kHca = {"HCA d=512", 128, 512};

// A layer's whole qkv_finish, 32 heads and 64 of the indexer, one token a sequence.
struct FinishSide {
  static constexpr int64_t kHeads = 32, kIndexHeads = 64;

  FinishSide(const Shape& shape, const Batch& batch, int64_t sets)
      : batch(batch), compressor(shape, batch, sets), indexer(kIndexer, batch, sets) {
    const int64_t t = batch.tokens(), pages = (t + 63) / 64 + 2 * t;
    const auto bf16 = [](int64_t n) { return reinterpret_cast<Bf16*>(RandomBytes(2 * n, 1)); };
    q = bf16(sets * t * kHeads * kHeadDim);
    kv = bf16(sets * t * kHeadDim);
    weight = bf16(kHeadDim);
    x = bf16(sets * t * kIndexHeads * kIndexDim);
    codes = RandomBytes(sets * t * kIndexHeads * kIndexRowBytes, 2);
    scale = reinterpret_cast<Ue8m0*>(RandomBytes(sets * t * kIndexHeads * kIndexRowScales, 3));
    angles = Floats(32 * t);
    rows = RandomBytes(pages * KvPageBytes(kBlockRows), 5);
    std::vector<int32_t> list(t);
    for (int64_t i = 0; i < t; ++i) list[i] = static_cast<int32_t>(i);
    index = Upload(list);
  }

  QkvFinishArgs At(int64_t set, bool is_csa) const {
    const int64_t t = batch.tokens(), pages = (t + 63) / 64;
    const KvPages chunk = {.base = rows, .pages = pages};
    const TensorView<const float, 2> cos = {angles, {t, 32}};
    QkvFinishArgs args = {
        .q = {q + set * t * kHeads * kHeadDim, {t, kHeads, kHeadDim}},
        .kv = {kv + set * t * kHeadDim, {t, kHeadDim}},
        .kv_weight = {weight, {kHeadDim}},
        .cos = cos,
        .sin = cos,
        .eps = 1e-6f,
        .index = {index, {t}},
        .rows = chunk,
        .commit = {.batch = batch,
                   .chunk = chunk,
                   .ring = {.base = rows + pages * KvPageBytes(kBlockRows), .pages = 2 * t}},
        .compressor = compressor.At(set)};
    if (!is_csa) return args;
    args.indexer = indexer.At(set);
    args.index_query = {
        .x = {x + set * t * kIndexHeads * kIndexDim, {t, kIndexHeads, kIndexDim}},
        .cos = cos,
        .sin = cos,
        .q = {codes + set * t * kIndexHeads * kIndexRowBytes, {t, kIndexHeads, kIndexRowBytes}},
        .scale = {scale + set * t * kIndexHeads * kIndexRowScales,
                  {t, kIndexHeads, kIndexRowScales}}};
    return args;
  }

  Batch batch;
  Side compressor, indexer;
  Bf16 *q, *kv, *weight, *x;
  uint8_t *codes, *rows;
  Ue8m0* scale;
  float* angles;
  int32_t* index;
};

// The parts one by one.
void RunApart(const QkvFinishArgs& args, Stream& stream) {
  QkvFinishArgs alone = args;
  alone.commit = {};
  alone.compressor = alone.indexer = {};
  alone.index_query = {};
  kCudaKernels.qkv_finish(alone, stream);
  kCudaKernels.compressor(args.compressor, stream);
  if (args.indexer.u.data != nullptr) kCudaKernels.compressor(args.indexer, stream);
  if (args.index_query.x.data != nullptr) kCudaKernels.index_query(args.index_query, stream);
  kCudaKernels.window_commit(args.commit, stream);
}

BenchCase Finish(const Shape& shape, int64_t sequences, int32_t first, bool apart) {
  const bool is_csa = shape.ratio == 4;
  const int64_t token = 4 * FinishSide::kHeads * kHeadDim + 2 * kHeadDim + 2 * kKvRowBytes +
                        (is_csa ? FinishSide::kIndexHeads * (2 * kIndexDim + 68) : 0);
  return {.name = std::string(apart ? "one by one: qkv_finish, all of " : "qkv_finish, all of ") +
                  shape.name,
          .tokens = sequences,
          .bytes = sequences * token + BytesOf(shape, sequences, 1, first) +
                   (is_csa ? BytesOf(kIndexer, sequences, 1, first) : 0),
          .flop = 0,
          .make = [=](int64_t sets) {
            const FinishSide side(shape, UploadBatch(sequences, 1, first, kPages), sets);
            return [=](int64_t set, Stream& stream) {
              const QkvFinishArgs args = side.At(set, is_csa);
              if (apart) return RunApart(args, stream);
              kCudaKernels.qkv_finish(args, stream);
            };
          }};
}

const Cases kFinishes("finish", [] {
  std::vector<BenchCase> cases;
  for (const Shape& shape : {kCsa, kHca}) {
    for (const bool apart : {false, true}) {
      for (const int32_t first : {1023, 1022}) cases.push_back(Finish(shape, 1, first, apart));
      cases.push_back(Finish(shape, 8, 1023, apart));
      cases.push_back(Finish(shape, 64, 1023, apart));
    }
  }
  return cases;
});

const Cases kCompressors("compressor", [] {
  std::vector<BenchCase> cases;
  for (const Shape& shape : {kCsa, kIndexer, kHca}) {
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
