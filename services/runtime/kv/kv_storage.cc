// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/kv/kv_storage.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<KvStorage>> KvStorage::CreatePrivate(const KvLayout& layout,
                                                                    kernels::Backend& backend) {
  std::unique_ptr<KvStorage> out(new KvStorage(layout, backend));
  out->base_ =
      reinterpret_cast<std::byte*>(out->private_.Take(static_cast<int64_t>(layout.bytes())));
  if (out->base_ != nullptr) return out;
  return absl::ResourceExhaustedError(
      absl::StrCat("KV pool: no memory for ", layout.bytes(), " bytes on ", backend.Describe()));
}

absl::StatusOr<std::unique_ptr<KvStorage>> KvStorage::CreateShared(const KvLayout& layout) {
  std::unique_ptr<KvStorage> out(new KvStorage(layout, kernels::HostBackend()));
  ASSIGN_OR_RETURN(out->shared_, SharedMemory::Create(kPoolOffset + layout.bytes()));
  out->base_ = out->shared_->data() + kPoolOffset;
  return out;
}

absl::StatusOr<std::unique_ptr<KvStorage>> KvStorage::OpenShared(const KvLayout& layout,
                                                                 absl::string_view name,
                                                                 uint32_t mapper_id) {
  std::unique_ptr<KvStorage> out(new KvStorage(layout, kernels::HostBackend()));
  ASSIGN_OR_RETURN(out->shared_, SharedMemory::Open(name, kPoolOffset + layout.bytes(), mapper_id));
  out->base_ = out->shared_->data() + kPoolOffset;
  return out;
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
  return std::string(reinterpret_cast<const char*>(shared_->data() + TestOffset(link_id)),
                     kTestCellBytes);
}

void KvStorage::WriteTest(uint32_t link_id, absl::string_view pattern) const {
  CHECK(shared_ != nullptr);
  CHECK_EQ(pattern.size(), kTestCellBytes);
  std::memcpy(shared_->data() + TestOffset(link_id), pattern.data(), pattern.size());
}

std::string Inverted(absl::string_view pattern) {
  std::string out(pattern);
  for (char& byte : out) byte = static_cast<char>(~byte);
  return out;
}

}  // namespace tandem
