// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/shared/weight_copy.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

constexpr absl::Duration kLook = absl::Milliseconds(50);
constexpr uint32_t kFollowersMax = 64;
// A block of its own: a handle is one of the whole block.
constexpr int64_t kGpuBlock = int64_t{2} << 20;
// On the host the weights follow the label.
constexpr size_t kLabelBytes = size_t{64} << 10;
constexpr char kMagic[16] = "tandem-weights1";

enum class State : uint32_t { kComing, kPlaced, kPublished };

// At the object's beginning. All but `state` is written before that says kPlaced, and stays.
struct Label {
  char magic[16];
  std::atomic<State> state;
  uint32_t handle_bytes;
  int64_t bytes;
  int32_t rank;
  int32_t ranks;
  char model[256];
  char identity[1024];
  char handle[512];
};
static_assert(sizeof(Label) <= kLabelBytes && std::atomic<State>::is_always_lock_free);

template <size_t kSize>
void Write(absl::string_view text, char (&to)[kSize]) {
  std::memcpy(to, text.data(), std::min(text.size(), kSize - 1));
}
template <size_t kSize>
std::string Read(const char (&from)[kSize]) {
  return std::string(from, strnlen(from, kSize));
}

Label& LabelOf(const SharedMemory& object) {
  return *reinterpret_cast<Label*>(object.data());
}

size_t ObjectBytes(const WeightCopy::Wanted& wanted) {
  return kLabelBytes + (wanted.backend.ReadsHost() ? static_cast<size_t>(wanted.bytes) : 0);
}

// Null: it has gone meanwhile, or is none of ours.
std::unique_ptr<SharedMemory> Open(const std::string& name, size_t bytes) {
  for (uint32_t id = 1; id <= kFollowersMax; ++id) {
    absl::StatusOr<std::unique_ptr<SharedMemory>> object = SharedMemory::Open(name, bytes, id);
    if (object.ok()) return *std::move(object);
    if (object.status().code() != absl::StatusCode::kInternal) return nullptr;
  }
  return nullptr;
}

}  // namespace

// Looks for a holder's object.
class WeightCopy::Search {
 public:
  explicit Search(const Wanted& wanted) : wanted_(wanted) {}

  // Null: none is published yet. `there`: somebody holds some of that name on this device.
  absl::StatusOr<std::unique_ptr<SharedMemory>> Look() {
    there_ = false;
    absl::Status refused;
    for (const std::string& name : SharedMemory::List(SharedMemory::kWeights)) {
      std::unique_ptr<SharedMemory> object = Open(name, kLabelBytes);
      if (object == nullptr || !IsMeant(*object)) continue;
      there_ = true;
      if (IsAnotherRanks(LabelOf(*object))) continue;
      if (absl::Status same = Compare(LabelOf(*object)); !same.ok()) {
        refused = std::move(same);
        continue;
      }
      if (LabelOf(*object).state != State::kPublished) return nullptr;
      object.reset();
      // Null if its holder went in between.
      return Open(name, ObjectBytes(wanted_));
    }
    if (!refused.ok()) return refused;
    return nullptr;
  }
  bool there() const { return there_; }

  static std::string HandleOf(const Label& label) {
    return std::string(label.handle, std::min<size_t>(label.handle_bytes, sizeof label.handle));
  }

 private:
  bool IsMeant(const SharedMemory& object) const {
    const Label& label = LabelOf(object);
    return object.OwnerAlive() && label.state.load() != State::kComing &&
           std::memcmp(label.magic, kMagic, sizeof kMagic) == 0 &&
           Read(label.model) == wanted_.model && wanted_.backend.Holds(HandleOf(label)) &&
           (label.handle_bytes == 0) == wanted_.backend.ReadsHost();
  }

  bool IsAnotherRanks(const Label& label) const {
    return label.ranks == wanted_.shard.ranks && label.rank != wanted_.shard.rank;
  }

  absl::Status Compare(const Label& label) const {
    if (Read(label.identity) == wanted_.identity && label.bytes == wanted_.bytes)
      return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("weights: WEIGHTS_SHARED: the decode worker holds ", Read(label.identity),
                     ", ", label.bytes, " bytes; this worker needs ", wanted_.identity, ", ",
                     wanted_.bytes, " bytes"));
  }

  const Wanted& wanted_;
  bool there_ = false;
};

absl::StatusOr<std::unique_ptr<WeightCopy>> WeightCopy::Hold(const Wanted& wanted) {
  std::unique_ptr<WeightCopy> out(new WeightCopy(wanted.backend));
  ASSIGN_OR_RETURN(out->object_, SharedMemory::Create(ObjectBytes(wanted), SharedMemory::kWeights));
  Label& label = LabelOf(*out->object_);
  std::string handle;
  if (wanted.backend.ReadsHost()) {
    out->memory_ = reinterpret_cast<uint8_t*>(out->object_->data()) + kLabelBytes;
  } else {
    out->memory_ = out->own_.Take((wanted.bytes + kGpuBlock - 1) / kGpuBlock * kGpuBlock);
    if (out->memory_ == nullptr) {
      return absl::ResourceExhaustedError(absl::StrCat("weights: no memory for ", wanted.bytes,
                                                       " bytes on ", wanted.backend.Describe()));
    }
    handle = wanted.backend.Export(out->memory_);
    if (handle.empty() || handle.size() > sizeof label.handle) {
      return absl::UnavailableError(
          absl::StrCat("weights: WEIGHTS_SHARED: ", wanted.backend.Describe(),
                       " shares no memory with other processes"));
    }
  }
  std::memcpy(label.magic, kMagic, sizeof kMagic);
  label.bytes = wanted.bytes;
  label.rank = wanted.shard.rank;
  label.ranks = wanted.shard.ranks;
  Write(wanted.model, label.model);
  Write(wanted.identity, label.identity);
  std::memcpy(label.handle, handle.data(), handle.size());
  label.handle_bytes = static_cast<uint32_t>(handle.size());
  label.state = State::kPlaced;
  return out;
}

void WeightCopy::Publish() {
  LabelOf(*object_).state = State::kPublished;
}

absl::StatusOr<std::unique_ptr<WeightCopy>> WeightCopy::Follow(const Wanted& wanted,
                                                               absl::Duration patience) {
  std::unique_ptr<WeightCopy> out(new WeightCopy(wanted.backend));
  Search search(wanted);
  for (absl::Time seen = Clock::Real().Now(); out->object_ == nullptr; absl::SleepFor(kLook)) {
    ASSIGN_OR_RETURN(out->object_, search.Look());
    if (out->object_ != nullptr) break;
    const absl::Time now = Clock::Real().Now();
    if (search.there()) seen = now;
    if (now - seen < patience) continue;
    return absl::NotFoundError(
        absl::StrCat("weights: WEIGHTS_SHARED: within ", absl::FormatDuration(patience),
                     " no decode worker came that holds those of ", wanted.model, " on ",
                     wanted.backend.Describe(), " (", wanted.identity, ")"));
  }
  if (wanted.backend.ReadsHost()) {
    out->memory_ = reinterpret_cast<uint8_t*>(out->object_->data()) + kLabelBytes;
    return out;
  }
  out->memory_ = out->imported_ = wanted.backend.Import(Search::HandleOf(LabelOf(*out->object_)));
  if (out->memory_ == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("weights: WEIGHTS_SHARED: the decode worker's are "
                     "not in reach of ",
                     wanted.backend.Describe()));
  }
  return out;
}

WeightCopy::~WeightCopy() {
  if (imported_ != nullptr) backend_.Unimport(imported_);
}

}  // namespace tandem
