// SPDX-License-Identifier: Apache-2.0
// KvStorage: the bytes of one KV pool: in private memory of the engine's backend, or in memory that
// processes share.
//
// Shared: before the pool, from kPoolOffset on, lies a test area, one cell a link, in which both
// sides prove that they see the same bytes. On the host both are in a shared memory object. On a
// GPU both are in its memory, of which the other process is given a handle; the object then is as
// large as the test area, and there for its locks alone, which tell who still maps the pool. Owns
// its memory; views stay valid while it lives. Only the engine uses a view's memory as it is, for
// it may be a GPU's; others call Read and Write. Reading and writing the bytes is for whoever holds
// the lease: the type adds no locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kernels/common/backend/memory.h"
#include "services/runtime/kv/kv_layout.h"
#include "services/runtime/kv/shared_memory.h"

namespace tandem {

class KvStorage {
 public:
  static constexpr size_t kTestCellBytes = 64;
  static constexpr size_t kTestCells = 1024;
  static constexpr size_t kPoolOffset = kTestCellBytes * kTestCells;

  // `backend` outlives the storage. RESOURCE_EXHAUSTED where it has no room.
  static absl::StatusOr<std::unique_ptr<KvStorage>> CreatePrivate(
      const KvLayout& layout, kernels::Backend& backend = kernels::HostBackend());
  static absl::StatusOr<std::unique_ptr<KvStorage>> CreateShared(
      const KvLayout& layout, kernels::Backend& backend = kernels::HostBackend());
  // Maps what another process created with an equal layout. FAILED_PRECONDITION if it is in other
  // memory than `backend` computes in.
  struct Offer {
    std::string name;        // shared()->name()
    std::string gpu_memory;  // of the other side
    uint32_t mapper_id = 0;
  };
  static absl::StatusOr<std::unique_ptr<KvStorage>> OpenShared(
      const KvLayout& layout, const Offer& offer,
      kernels::Backend& backend = kernels::HostBackend());
  ~KvStorage();

  const KvLayout& layout() const { return layout_; }
  KvView view() const { return {.base = base_, .layout = &layout_}; }

  // Bytes of the pool from `offset` on, within it. From any thread.
  void Read(uint64_t offset, absl::Span<char> to) const;
  void Write(uint64_t offset, absl::string_view bytes) const;

  kernels::Backend& backend() const { return private_.backend(); }
  // Whether the engine can work in it: not so in another GPU's memory, which only copies reach.
  bool near() const { return near_; }
  // The handle of a shared pool on a GPU; else empty.
  const std::string& gpu_memory() const { return gpu_memory_; }

  // Null for private storage.
  const SharedMemory* shared() const { return shared_.get(); }

  // Shared only: the cell of a link.
  static size_t TestOffset(uint32_t link_id) { return link_id % kTestCells * kTestCellBytes; }
  std::string ReadTest(uint32_t link_id) const;
  void WriteTest(uint32_t link_id, absl::string_view pattern) const;

 private:
  KvStorage(const KvLayout& layout, kernels::Backend& backend)
      : layout_(layout), private_(backend) {}

  const KvLayout layout_;
  kernels::Memory private_;
  uint8_t* imported_ = nullptr;
  bool near_ = true;
  std::string gpu_memory_;
  std::unique_ptr<SharedMemory> shared_;
  std::byte* test_ = nullptr;  // the test area
  std::byte* base_ = nullptr;
};

// The inverted bytes: what the other side of a self-test must answer.
std::string Inverted(absl::string_view pattern);

}  // namespace tandem
