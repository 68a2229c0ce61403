// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/store/dummy_weights.h"

#include <cmath>
#include <cstring>
#include <random>

#include "absl/strings/match.h"
#include "kernels/common/dtype.h"
#include "services/runtime/base/fnv1a.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

// Primes, so that the rows of no matrix are as long as a run: the next run's would be the same.
constexpr int64_t kPages = 4093, kFewPages = 251, kPageBytes = 4096;

enum class Kind { kFp8, kFp4, kScales, kBf16, kNorm, kFloat, kHcScale };
struct Values {
  Kind kind = Kind::kFp4;
  int exponent = 0;  // a deviation of 2^exponent where the kind has one
};

int Log2Sqrt(int64_t inputs) {
  return static_cast<int>(std::lround(std::log2(static_cast<double>(inputs)) / 2));
}

// Of FP8 codes drawn from a normal distribution: the largest code, 448, is seven deviations away.
constexpr int kFp8Log2 = 6;
// Of evenly distributed FP4 codes: 2.93, 2^1.5.
constexpr double kFp4Log2 = 1.5;
constexpr int kSmallLog2 = -4;

Values ValuesOf(const TensorAsk& ask) {
  switch (ask.dtype) {
    case Dtype::kF8E4M3:
      return {.kind = Kind::kFp8};
    case Dtype::kF8E8M0: {
      const bool fp4 = ask.shape.back() * 32 == ask.inputs;
      const double code = fp4 ? kFp4Log2 : kFp8Log2;
      const int exponent = static_cast<int>(std::lround(-code - Log2Sqrt(ask.inputs)));
      return {.kind = Kind::kScales, .exponent = exponent};
    }
    case Dtype::kBf16:
      if (ask.shape.size() == 1) return {.kind = Kind::kNorm};
      return {.kind = Kind::kBf16, .exponent = ask.inputs == 0 ? 0 : -Log2Sqrt(ask.inputs)};
    case Dtype::kF32:
      if (absl::EndsWith(ask.name, "_scale")) return {.kind = Kind::kHcScale};
      return {
          .kind = Kind::kFloat,
          .exponent = absl::EndsWith(ask.name, "_fn") ? -Log2Sqrt(ask.shape.back()) : kSmallLog2};
    case Dtype::kI8:
    case Dtype::kI64:
      break;
  }
  return {};
}

// One draw of values: from a normal distribution, and 16 even bits.
struct Draw {
  float normal;
  uint32_t bits;
};

// Fills the run with draws from `draw`'s results: of some ten thousand, at random, many times as
// fast as from the distribution itself.
template <typename T, typename Make>
void FillWith(absl::Span<uint8_t> run, Make make) {
  std::vector<T> choice(1 << 16);
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal;
  for (uint32_t i = 0; i < choice.size(); ++i) choice[i] = make(Draw{normal(random), i});
  uint64_t bits = 0;
  T* const out = reinterpret_cast<T*>(run.data());
  for (size_t i = 0; i < run.size() / sizeof(T); ++i) {
    if (i % 4 == 0) bits = random();
    out[i] = choice[bits & 0xFFFF];
    bits >>= 16;
  }
}

void Fill(const Values& values, absl::Span<uint8_t> run) {
  const float deviation = std::exp2(static_cast<float>(values.exponent));
  switch (values.kind) {
    case Kind::kFp8:
      return FillWith<uint8_t>(run, [](const Draw& draw) {
        return kernels::ToE4M3(draw.normal * (1 << kFp8Log2)).bits;
      });
    case Kind::kFp4:
      return FillWith<uint8_t>(run, [](const Draw& draw) { return draw.bits & 255; });
    case Kind::kScales:  // two of them: a constant would hide a scale at the wrong place
      return FillWith<uint8_t>(
          run, [&](const Draw& draw) { return 127 + values.exponent + (draw.bits & 1); });
    case Kind::kBf16:
      return FillWith<kernels::Bf16>(
          run, [&](const Draw& draw) { return kernels::ToBf16(draw.normal * deviation); });
    case Kind::kNorm:
      return FillWith<kernels::Bf16>(
          run, [](const Draw& draw) { return kernels::ToBf16(1 + 0.1f * draw.normal); });
    case Kind::kFloat:
      return FillWith<float>(run, [&](const Draw& draw) { return draw.normal * deviation; });
    case Kind::kHcScale:
      return FillWith<float>(run, [](const Draw& draw) { return 0.3f + 0.7f * draw.bits / 65536; });
  }
}

}  // namespace

absl::StatusOr<const TensorBytes*> DummyWeights::Find(const TensorAsk& ask) {
  const auto found = tensors_.find(ask.name);
  if (found != tensors_.end()) return &found->second;
  int64_t bytes = DtypeBytes(ask.dtype);
  for (const int64_t extent : ask.shape) bytes *= extent;
  TensorBytes tensor{.dtype = ask.dtype, .shape = ask.shape};
  if (ask.dtype == Dtype::kI64) {
    tensor.bytes = ExpertTable(ask);
  } else {
    ASSIGN_OR_RETURN(tensor.bytes, Window(ask, bytes));
  }
  return &tensors_.emplace(ask.name, std::move(tensor)).first->second;
}

absl::StatusOr<absl::Span<const std::byte>> DummyWeights::Window(const TensorAsk& ask,
                                                                 int64_t bytes) {
  const Values values = ValuesOf(ask);
  const std::pair<int, int> key{static_cast<int>(values.kind), values.exponent};
  auto run = runs_.find(key);
  if (run == runs_.end()) {
    const bool large =
        values.kind == Kind::kFp8 || values.kind == Kind::kFp4 || values.kind == Kind::kBf16;
    ASSIGN_OR_RETURN(
        RepeatedBytes made,
        RepeatedBytes::Create((large ? kPages : kFewPages) * kPageBytes,
                              [&](absl::Span<uint8_t> whole) { Fill(values, whole); }));
    run = runs_.emplace(key, std::move(made)).first;
  }
  ASSIGN_OR_RETURN(const std::byte* const room, run->second.Room(bytes));
  const auto step = static_cast<uint64_t>(DtypeBytes(ask.dtype));
  const uint64_t offset =
      Fnv1a(ask.name) % (static_cast<uint64_t>(run->second.period()) / step) * step;
  return absl::MakeConstSpan(room + offset, static_cast<size_t>(bytes));
}

// Every row names different experts: a first one, and the others at even distances from it.
absl::Span<const std::byte> DummyWeights::ExpertTable(const TensorAsk& ask) {
  const int64_t rows = ask.shape[0], columns = ask.shape[1];
  std::vector<int64_t>& table = tables_.emplace_back(rows * columns);
  std::mt19937_64 random(Fnv1a(ask.name));
  const int64_t steps = std::max<int64_t>(ask.below / columns, 1);
  for (int64_t row = 0; row < rows; ++row) {
    const auto first = static_cast<int64_t>(random() % static_cast<uint64_t>(ask.below));
    const auto step = static_cast<int64_t>(random() % static_cast<uint64_t>(steps)) + 1;
    for (int64_t i = 0; i < columns; ++i) table[row * columns + i] = (first + i * step) % ask.below;
  }
  return {reinterpret_cast<const std::byte*>(table.data()), table.size() * sizeof(int64_t)};
}

}  // namespace tandem
