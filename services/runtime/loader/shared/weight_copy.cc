// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/shared/weight_copy.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/log.h"
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

  // Null: none is published yet.
  absl::StatusOr<std::unique_ptr<SharedMemory>> Look() {
    coming_ = false;
    found_.clear();
    absl::Status refused;
    for (const std::string& name : SharedMemory::List(SharedMemory::kWeights)) {
      std::unique_ptr<SharedMemory> object = Open(name, kLabelBytes);
      if (object == nullptr || !IsMeant(*object)) continue;
      const Label& label = LabelOf(*object);
      const bool published = label.state == State::kPublished;
      if (IsAnotherRanks(label)) {
        Note(label, published);
        continue;
      }
      if (absl::Status same = Compare(label); !same.ok()) {
        refused = std::move(same);
        continue;
      }
      Note(label, published);
      if (!published) return nullptr;
      object.reset();
      // Null if its holder went in between.
      return Open(name, ObjectBytes(wanted_));
    }
    if (!refused.ok()) return refused;
    return nullptr;
  }
  // Of the last look: whether somebody fills a copy, the wanted one or another rank's beside which
  // it is loaded, and whose copies there were. A rank's that is published says nothing of ours: the
  // holder may have that on another device.
  bool coming() const { return coming_; }
  std::string Found() const { return found_.empty() ? "none" : absl::StrJoin(found_, ", "); }

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

  void Note(const Label& label, bool published) {
    coming_ = coming_ || !published;
    found_.insert(
        absl::StrCat("rank ", label.rank, " of ", label.ranks, published ? "" : " (being filled)"));
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
  bool coming_ = false;
  std::set<std::string> found_;
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
  const std::string rank = absl::StrCat("rank ", wanted.shard.rank, " of ", wanted.shard.ranks);
  std::string told;
  for (absl::Time seen = Clock::Real().Now(); out->object_ == nullptr; absl::SleepFor(kLook)) {
    ASSIGN_OR_RETURN(out->object_, search.Look());
    if (out->object_ != nullptr) break;
    const absl::Time now = Clock::Real().Now();
    if (search.coming()) seen = now;
    const std::string found = search.Found();
    if (now - seen >= patience) {
      return absl::NotFoundError(
          absl::StrCat("weights: WEIGHTS_SHARED: within ", absl::FormatDuration(patience),
                       " no decode worker came that holds ", rank, " of ", wanted.model, " on ",
                       wanted.backend.Describe(), " (", wanted.identity, "); held there: ", found,
                       "; each rank has to be on one GPU in both workers"));
    }
    if (found == told) continue;
    told = found;
    LogInfo("weights-awaited", {{"model", wanted.model},
                                {"wanted", rank},
                                {"on", wanted.backend.Describe()},
                                {"found", found}});
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
