// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/shared/weight_identity.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/fnv1a.h"

namespace tandem {
namespace {

// Of tensors evenly among all, each one's middle: a page fault each of a mapped checkpoint.
constexpr size_t kSamples = 256;
constexpr size_t kSampleBytes = 64;

uint64_t Next(uint64_t hash, absl::string_view bytes) {
  for (const char byte : bytes) hash = Fnv1aNext(hash, static_cast<uint8_t>(byte));
  return Fnv1aNext(hash, bytes.size());
}

uint64_t HashOf(const TensorStore& store) {
  uint64_t hash = kFnv1aBasis;
  const size_t stride = std::max<size_t>(store.tensors().size() / kSamples, 1);
  size_t number = 0;
  for (const auto& [name, tensor] : store.tensors()) {
    hash = Fnv1aNext(Next(hash, name), static_cast<uint64_t>(tensor.dtype));
    for (const int64_t extent : tensor.shape) hash = Fnv1aNext(hash, static_cast<uint64_t>(extent));
    if (number++ % stride != 0 || tensor.bytes.empty()) continue;
    const size_t middle = tensor.bytes.size() / 2;
    const size_t count = std::min(kSampleBytes, tensor.bytes.size() - middle);
    hash = Next(hash, {reinterpret_cast<const char*>(tensor.bytes.data()) + middle, count});
  }
  return hash;
}

uint64_t HashOf(const WeightPlan& plan) {
  uint64_t hash = kFnv1aBasis;
  for (const WeightPiece& piece : plan.pieces) {
    hash = Fnv1aNext(Fnv1aNext(hash, static_cast<uint64_t>(piece.offset)),
                     static_cast<uint64_t>(piece.bytes));
  }
  return hash;
}

}  // namespace

std::string IdentityOf(const IdentityArgs& args) {
  return absl::StrCat("rank ", args.shard.rank, " of ", args.shard.ranks, " of tensors ",
                      absl::Hex(HashOf(args.store), absl::kZeroPad16), ", prepared for ",
                      args.table.name, " ", args.table.weight_version, " as ",
                      absl::Hex(HashOf(args.plan), absl::kZeroPad16));
}

}  // namespace tandem
