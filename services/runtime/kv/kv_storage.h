// SPDX-License-Identifier: Apache-2.0
// KvStorage: the bytes of one KV pool, in private or in shared memory.
//
// Shared: the object begins with a test area, one cell a link, in which both sides prove that they
// see the same bytes; the pool follows at kPoolOffset. Owns its memory; views stay valid while it
// lives. Reading and writing the bytes is for whoever holds the lease: the type adds no locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/runtime/kv/kv_layout.h"
#include "services/runtime/kv/shared_memory.h"

namespace tandem {

class KvStorage {
 public:
  static constexpr size_t kTestCellBytes = 64;
  static constexpr size_t kTestCells = 1024;
  static constexpr size_t kPoolOffset = kTestCellBytes * kTestCells;

  static absl::StatusOr<std::unique_ptr<KvStorage>> CreatePrivate(const KvLayout& layout);
  static absl::StatusOr<std::unique_ptr<KvStorage>> CreateShared(const KvLayout& layout);
  // Maps what another process created with an equal layout.
  static absl::StatusOr<std::unique_ptr<KvStorage>> OpenShared(const KvLayout& layout,
                                                               absl::string_view name,
                                                               uint32_t mapper_id);

  const KvLayout& layout() const { return layout_; }
  KvView view() const { return {.base = base_, .layout = &layout_}; }

  // Null for private storage.
  const SharedMemory* shared() const { return shared_.get(); }

  // Shared only: the cell of a link.
  static size_t TestOffset(uint32_t link_id) { return link_id % kTestCells * kTestCellBytes; }
  std::string ReadTest(uint32_t link_id) const;
  void WriteTest(uint32_t link_id, absl::string_view pattern) const;

 private:
  struct FreeDeleter {
    void operator()(std::byte* data) const;
  };
  explicit KvStorage(const KvLayout& layout) : layout_(layout) {}

  const KvLayout layout_;
  std::unique_ptr<std::byte, FreeDeleter> private_;
  std::unique_ptr<SharedMemory> shared_;
  std::byte* base_ = nullptr;
};

// The inverted bytes: what the other side of a self-test must answer.
std::string Inverted(absl::string_view pattern);

}  // namespace tandem
