// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/kv/kv_storage.h"

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

constexpr uint64_t kGpuBlock = uint64_t{2} << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<KvStorage>> KvStorage::CreatePrivate(const KvLayout& layout,
                                                                    kernels::Backend& backend) {
  std::unique_ptr<KvStorage> out(new KvStorage(layout, backend));
  out->base_ =
      reinterpret_cast<std::byte*>(out->private_.Take(static_cast<int64_t>(layout.bytes())));
  if (out->base_ != nullptr) return out;
  return absl::ResourceExhaustedError(
      absl::StrCat("KV pool: no memory for ", layout.bytes(), " bytes on ", backend.Describe()));
}

absl::StatusOr<std::unique_ptr<KvStorage>> KvStorage::CreateShared(const KvLayout& layout,
                                                                   kernels::Backend& backend) {
  std::unique_ptr<KvStorage> out(new KvStorage(layout, backend));
  const bool host = backend.ReadsHost();
  ASSIGN_OR_RETURN(out->shared_, SharedMemory::Create(kPoolOffset + (host ? layout.bytes() : 0)));
  if (host) {
    out->test_ = out->shared_->data();
  } else {
    // A block of its own: a handle is one of the whole block.
    const uint64_t bytes = (kPoolOffset + layout.bytes() + kGpuBlock - 1) / kGpuBlock * kGpuBlock;
    uint8_t* const memory = out->private_.Take(static_cast<int64_t>(bytes));
    if (memory == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrCat("KV pool: no memory for ", bytes, " bytes on ", backend.Describe()));
    }
    out->gpu_memory_ = backend.Export(memory);
    if (out->gpu_memory_.empty()) {
      return absl::UnavailableError(
          absl::StrCat("KV pool: ", backend.Describe(), " shares no memory with other processes"));
    }
    out->test_ = reinterpret_cast<std::byte*>(memory);
  }
  out->base_ = out->test_ + kPoolOffset;
  return out;
}

absl::StatusOr<std::unique_ptr<KvStorage>> KvStorage::OpenShared(const KvLayout& layout,
                                                                 const Offer& offer,
                                                                 kernels::Backend& backend) {
  const bool host = backend.ReadsHost();
  if (host != offer.gpu_memory.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("the offered pool is in ",
                                                      host ? "a GPU's" : "host", " memory, but ",
                                                      backend.Describe(), " computes here"));
  }
  std::unique_ptr<KvStorage> out(new KvStorage(layout, backend));
  ASSIGN_OR_RETURN(
      out->shared_,
      SharedMemory::Open(offer.name, kPoolOffset + (host ? layout.bytes() : 0), offer.mapper_id));
  if (!host) {
    out->near_ = backend.Holds(offer.gpu_memory);
    out->imported_ = backend.Import(offer.gpu_memory);
    if (out->imported_ == nullptr) {
      return absl::FailedPreconditionError(
          absl::StrCat("the offered memory is not in reach of ", backend.Describe()));
    }
  }
  out->test_ = host ? out->shared_->data() : reinterpret_cast<std::byte*>(out->imported_);
  out->base_ = out->test_ + kPoolOffset;
  return out;
}

KvStorage::~KvStorage() {
  // Before the lock says so.
  if (imported_ != nullptr) backend().Unimport(imported_);
}

void KvStorage::Read(uint64_t offset, absl::Span<char> to) const {
  CHECK_LE(offset + to.size(), layout_.bytes());
  private_.backend().CopyNow(
      {.to = to.data(), .from = base_ + offset, .bytes = static_cast<int64_t>(to.size())});
}

void KvStorage::Write(uint64_t offset, absl::string_view bytes) const {
  CHECK_LE(offset + bytes.size(), layout_.bytes());
  private_.backend().CopyNow(
      {.to = base_ + offset, .from = bytes.data(), .bytes = static_cast<int64_t>(bytes.size())});
}

std::string KvStorage::ReadTest(uint32_t link_id) const {
  CHECK(shared_ != nullptr);
  std::string pattern(kTestCellBytes, '\0');
  backend().CopyNow(
      {.to = pattern.data(), .from = test_ + TestOffset(link_id), .bytes = kTestCellBytes});
  return pattern;
}

void KvStorage::WriteTest(uint32_t link_id, absl::string_view pattern) const {
  CHECK(shared_ != nullptr);
  CHECK_EQ(pattern.size(), kTestCellBytes);
  backend().CopyNow(
      {.to = test_ + TestOffset(link_id), .from = pattern.data(), .bytes = kTestCellBytes});
}

std::string Inverted(absl::string_view pattern) {
  std::string out(pattern);
  for (char& byte : out) byte = static_cast<char>(~byte);
  return out;
}

}  // namespace tandem
