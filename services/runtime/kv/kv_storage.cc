// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/kv/kv_storage.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

constexpr size_t kAlignment = 4096;

}  // namespace

void KvStorage::FreeDeleter::operator()(std::byte* data) const {
  std::free(data);
}

absl::StatusOr<std::unique_ptr<KvStorage>> KvStorage::CreatePrivate(const KvLayout& layout) {
  std::unique_ptr<KvStorage> out(new KvStorage(layout));
  const size_t bytes = (layout.bytes() + kAlignment - 1) / kAlignment * kAlignment;
  out->private_.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes)));
  if (out->private_ == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("KV pool: no memory for ", bytes, " bytes"));
  }
  out->base_ = out->private_.get();
  return out;
}

absl::StatusOr<std::unique_ptr<KvStorage>> KvStorage::CreateShared(const KvLayout& layout) {
  std::unique_ptr<KvStorage> out(new KvStorage(layout));
  ASSIGN_OR_RETURN(out->shared_, SharedMemory::Create(kPoolOffset + layout.bytes()));
  out->base_ = out->shared_->data() + kPoolOffset;
  return out;
}

absl::StatusOr<std::unique_ptr<KvStorage>> KvStorage::OpenShared(const KvLayout& layout,
                                                                 absl::string_view name,
                                                                 uint32_t mapper_id) {
  std::unique_ptr<KvStorage> out(new KvStorage(layout));
  ASSIGN_OR_RETURN(out->shared_, SharedMemory::Open(name, kPoolOffset + layout.bytes(), mapper_id));
  out->base_ = out->shared_->data() + kPoolOffset;
  return out;
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
