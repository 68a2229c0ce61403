// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/weight_filler.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/thread.h"

namespace tandem {
namespace {

using kernels::LinearWeight;

constexpr uint8_t kUe8m0Nan = 0xFF;
// More than fill a PCIe bus; each holds a few megabytes of staging memory.
constexpr int kThreadsMax = 16;

// What all threads see: the next piece, how far it is, the first error.
class Filling {
 public:
  explicit Filling(size_t total) : total_(total), begin_(Clock::Real().Now()), last_(begin_) {}

  // The number of a piece that nobody took; `total` or more: none is left.
  size_t Next() { return next_.fetch_add(1, std::memory_order_relaxed); }

  void Done(uint64_t bytes) {
    const absl::MutexLock lock(&mutex_);
    ++done_;
    bytes_ += bytes;
    const absl::Time now = Clock::Real().Now();
    if (done_ != total_ && now - last_ < absl::Seconds(1)) return;
    last_ = now;
    const double seconds = std::max(absl::ToDoubleSeconds(now - begin_), 1e-9);
    LogInfo(done_ == total_ ? "weights_loaded" : "weights_loading",
            {{"pieces", absl::StrCat(done_, "/", total_)},
             {"bytes", bytes_},
             {"seconds", absl::StrFormat("%.2f", seconds)},
             {"gb_per_s", absl::StrFormat("%.2f", static_cast<double>(bytes_) / 1e9 / seconds)}});
  }

  void Fail(absl::Status status) {
    next_ = total_;
    const absl::MutexLock lock(&mutex_);
    status_.Update(std::move(status));
  }
  absl::Status status() {
    const absl::MutexLock lock(&mutex_);
    return status_;
  }

 private:
  const size_t total_;
  const absl::Time begin_;
  std::atomic<size_t> next_ = 0;
  absl::Mutex mutex_;
  absl::Time last_ ABSL_GUARDED_BY(mutex_);
  size_t done_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

absl::Status NamedNan(const TensorStore& store, const uint8_t* at) {
  const auto* const byte = reinterpret_cast<const std::byte*>(at);
  for (const auto& [name, tensor] : store.tensors()) {
    const std::byte* const begin = tensor.bytes.data();
    if (std::less<>()(byte, begin) || !std::less<>()(byte, begin + tensor.bytes.size())) continue;
    return absl::InvalidArgumentError(absl::StrCat("checkpoint: ", absl::CHexEscape(name),
                                                   " must hold no NaN (byte 255), element ",
                                                   byte - begin, " is"));
  }
  return absl::InvalidArgumentError("checkpoint: a scale must hold no NaN (byte 255)");
}

absl::Status CheckScales(const LinearWeight& linear, const TensorStore& store) {
  for (int64_t row = 0; row < kernels::ScaleRows(linear); ++row) {
    const uint8_t* const scales = kernels::ScaleRowAt(linear, row);
    const void* const nan =
        std::memchr(scales, kUe8m0Nan, static_cast<size_t>(kernels::ScaleRowBytes(linear)));
    if (nan != nullptr) return NamedNan(store, static_cast<const uint8_t*>(nan));
  }
  return absl::OkStatus();
}

// What the piece is in the checkpoint.
uint64_t SourceBytes(const WeightPiece& piece) {
  if (piece.linear == nullptr) return static_cast<uint64_t>(piece.bytes);
  return static_cast<uint64_t>(piece.linear->n * kernels::RowBytes(*piece.linear) +
                               kernels::ScaleCount(*piece.linear));
}

absl::Status FillPiece(const FillArgs& args, const WeightPiece& piece) {
  uint8_t* const at = args.memory + piece.offset;
  if (piece.linear == nullptr) {
    args.kernels.backend.CopyNow({.to = at, .from = piece.from, .bytes = piece.bytes});
    piece.move_view(piece.view, at);
    return absl::OkStatus();
  }
  const absl::Status status = CheckScales(*piece.linear, args.store);
  if (status.ok() && piece.bytes > 0) {
    args.kernels.table.prepare_linear(piece.linear, {at, static_cast<size_t>(piece.bytes)});
  }
  return status;
}

}  // namespace

void AdoptWeights(const WeightPlan& plan, uint8_t* memory) {
  for (const WeightPiece& piece : plan.pieces) {
    if (piece.linear == nullptr) {
      piece.move_view(piece.view, memory + piece.offset);
    } else if (piece.bytes > 0) {
      piece.linear->prepared = memory + piece.offset;
    }
  }
}

absl::Status FillWeights(const FillArgs& args) {
  const std::vector<WeightPiece>& pieces = args.plan.pieces;
  Filling filling(pieces.size());
  const auto work = [&] {
    // A thread that prepares on a GPU has asked its backend for a stream before.
    const kernels::Stream entered = args.kernels.backend.MakeStream();
    for (size_t i = filling.Next(); i < pieces.size(); i = filling.Next()) {
      const absl::Status status = FillPiece(args, pieces[i]);
      if (!status.ok()) return filling.Fail(status);
      filling.Done(SourceBytes(pieces[i]));
    }
  };
  {
    const int threads = std::clamp(ProcessorCount() / args.ranks, 1, kThreadsMax);
    std::vector<std::unique_ptr<Thread>> others;
    for (int i = 0; i < threads; ++i) {
      others.push_back(std::make_unique<Thread>(absl::StrCat("load-", i), work));
    }
  }
  return filling.status();
}

}  // namespace tandem
