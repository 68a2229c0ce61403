// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/kv/kv_storage.h"

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

constexpr uint64_t kGpuBlock = uint64_t{2} << 20;

}  // namespace

KvStorage::KvStorage(const KvLayout& layout, Backends backends)
    : layout_(layout), backends_(backends.begin(), backends.end()) {
  CHECK(!backends_.empty());
  for (kernels::Backend* backend : backends_) {
    CHECK_EQ(backend->ReadsHost(), host());
    private_.push_back(std::make_unique<kernels::Memory>(*backend));
  }
}

KvStorage::Backends KvStorage::OnHost() {
  static kernels::Backend* const kHost = &kernels::HostBackend();
  return {&kHost, 1};
}

absl::Status KvStorage::NoMemory(uint64_t bytes, size_t rank) const {
  return absl::ResourceExhaustedError(
      absl::StrCat("KV pool: no memory for ", bytes, " bytes on ", backends_[rank]->Describe()));
}

absl::StatusOr<std::unique_ptr<KvStorage>> KvStorage::CreatePrivate(const KvLayout& layout,
                                                                    Backends backends) {
  std::unique_ptr<KvStorage> out(new KvStorage(layout, backends));
  for (size_t r = 0; r < backends.size(); ++r) {
    uint8_t* const memory = out->private_[r]->Take(static_cast<int64_t>(layout.bytes()));
    if (memory == nullptr) return out->NoMemory(layout.bytes(), r);
    out->bases_.push_back(reinterpret_cast<std::byte*>(memory));
  }
  return out;
}

uint64_t KvStorage::ObjectBytes(const KvLayout& layout, const Offer& offer) {
  if (!offer.gpu_memory.empty()) return kPoolOffset;
  return static_cast<uint64_t>(offer.copies) * (kPoolOffset + layout.bytes());
}

void KvStorage::PlaceInObject() {
  for (size_t r = 0; r < backends_.size(); ++r) {
    bases_.push_back(shared_->data() + r * (kPoolOffset + layout_.bytes()) + kPoolOffset);
  }
}

absl::StatusOr<std::unique_ptr<KvStorage>> KvStorage::CreateShared(const KvLayout& layout,
                                                                   Backends backends) {
  std::unique_ptr<KvStorage> out(new KvStorage(layout, backends));
  if (!out->host()) {
    // A block of its own: a handle is one of the whole block.
    const uint64_t bytes = (kPoolOffset + layout.bytes() + kGpuBlock - 1) / kGpuBlock * kGpuBlock;
    for (size_t r = 0; r < backends.size(); ++r) {
      uint8_t* const memory = out->private_[r]->Take(static_cast<int64_t>(bytes));
      if (memory == nullptr) return out->NoMemory(bytes, r);
      out->gpu_memory_.push_back(backends[r]->Export(memory));
      if (out->gpu_memory_.back().empty()) {
        return absl::UnavailableError(absl::StrCat("KV pool: ", backends[r]->Describe(),
                                                   " shares no memory with other processes"));
      }
      out->bases_.push_back(reinterpret_cast<std::byte*>(memory) + kPoolOffset);
    }
  }
  const Offer offer = {.copies = static_cast<int>(backends.size()), .gpu_memory = out->gpu_memory_};
  ASSIGN_OR_RETURN(out->shared_, SharedMemory::Create(ObjectBytes(layout, offer)));
  if (out->host()) out->PlaceInObject();
  return out;
}

absl::StatusOr<std::unique_ptr<KvStorage>> KvStorage::OpenShared(const KvLayout& layout,
                                                                 const Offer& offer,
                                                                 Backends backends) {
  std::unique_ptr<KvStorage> out(new KvStorage(layout, backends));
  if (out->host() != offer.gpu_memory.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the offered pool is in ", out->host() ? "a GPU's" : "host", " memory, but ",
                     backends[0]->Describe(), " computes here"));
  }
  const size_t copies = out->host() ? static_cast<size_t>(offer.copies) : offer.gpu_memory.size();
  if (copies != backends.size()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the offered pool is one of ", copies, " ranks, but this worker has ", backends.size()));
  }
  ASSIGN_OR_RETURN(out->shared_,
                   SharedMemory::Open(offer.name, ObjectBytes(layout, offer), offer.mapper_id));
  if (out->host()) {
    out->PlaceInObject();
    return out;
  }
  for (size_t r = 0; r < backends.size(); ++r) {
    out->near_ = out->near_ && backends[r]->Holds(offer.gpu_memory[r]);
    uint8_t* const memory = backends[r]->Import(offer.gpu_memory[r]);
    if (memory == nullptr) {
      return absl::FailedPreconditionError(
          absl::StrCat("the offered memory is not in reach of ", backends[r]->Describe()));
    }
    out->imported_.push_back(memory);
    out->bases_.push_back(reinterpret_cast<std::byte*>(memory) + kPoolOffset);
    out->answers_.push_back(out->private_[r]->Take(kTestCellBytes));
    if (out->answers_.back() == nullptr) return out->NoMemory(kTestCellBytes, r);
  }
  return out;
}

KvStorage::~KvStorage() {
  // Before the lock says so.
  for (size_t r = 0; r < imported_.size(); ++r) backends_[r]->Unimport(imported_[r]);
}

void KvStorage::Read(uint64_t offset, absl::Span<char> to) const {
  CHECK_LE(offset + to.size(), layout_.bytes());
  backends_[0]->CopyNow(
      {.to = to.data(), .from = bases_[0] + offset, .bytes = static_cast<int64_t>(to.size())});
}

void KvStorage::Write(uint64_t offset, absl::string_view bytes) const {
  CHECK_LE(offset + bytes.size(), layout_.bytes());
  for (size_t r = 0; r < bases_.size(); ++r) {
    backends_[r]->CopyNow({.to = bases_[r] + offset,
                           .from = bytes.data(),
                           .bytes = static_cast<int64_t>(bytes.size())});
  }
}

std::string KvStorage::ReadTest(uint32_t link_id) const {
  CHECK(shared_ != nullptr);
  std::string pattern(pattern_bytes(), '\0');
  for (size_t r = 0; r < bases_.size(); ++r) {
    backends_[r]->CopyNow({.to = pattern.data() + r * kTestCellBytes,
                           .from = bases_[r] - kPoolOffset + TestOffset(link_id),
                           .bytes = kTestCellBytes});
  }
  return pattern;
}

void KvStorage::WriteTest(uint32_t link_id, absl::string_view pattern) const {
  CHECK(shared_ != nullptr);
  CHECK_EQ(pattern.size(), pattern_bytes());
  for (size_t r = 0; r < bases_.size(); ++r) {
    std::byte* const cell = bases_[r] - kPoolOffset + TestOffset(link_id);
    void* const near = answers_.empty() ? static_cast<void*>(cell) : answers_[r];
    backends_[r]->CopyNow(
        {.to = near, .from = pattern.data() + r * kTestCellBytes, .bytes = kTestCellBytes});
    if (answers_.empty()) continue;
    const kernels::CopyArgs store = {.to = cell, .from = answers_[r], .bytes = kTestCellBytes};
    backends_[r]->CopyManyNow({&store, 1});
  }
}

std::string Inverted(absl::string_view pattern) {
  std::string out(pattern);
  for (char& byte : out) byte = static_cast<char>(~byte);
  return out;
}

}  // namespace tandem
