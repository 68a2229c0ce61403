// SPDX-License-Identifier: Apache-2.0
// KvStorage: the bytes of one KV pool, a copy for each rank of the engine that uses it: in private
// memory of the ranks' backends, or in memory that processes share.
//
// Shared: before each copy, kPoolOffset bytes long, lies a test area, one cell a link, in which
// both sides prove that they see the same bytes. On the host all copies are in a shared memory
// object, one behind the other. On GPUs each is in its rank's memory, of which the other process is
// given a handle; the object then is as large as one test area, and there for its locks alone,
// which tell who still maps the pool. Owns its memory; views stay valid while it lives. Only the
// engine uses a view's memory as it is, for it may be a GPU's; others call Read and Write. Reading
// and writing the bytes is for whoever holds the lease: the type adds no locks.
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

  // Of each rank, in order; they outlive the storage.
  using Backends = absl::Span<kernels::Backend* const>;
  static Backends OnHost();  // of one rank

  // RESOURCE_EXHAUSTED where a backend has no room.
  static absl::StatusOr<std::unique_ptr<KvStorage>> CreatePrivate(const KvLayout& layout,
                                                                  Backends backends = OnHost());
  static absl::StatusOr<std::unique_ptr<KvStorage>> CreateShared(const KvLayout& layout,
                                                                 Backends backends = OnHost());
  // Maps what another process created with an equal layout. FAILED_PRECONDITION if it has other
  // ranks, or is in other memory than `backends` compute in; RESOURCE_EXHAUSTED where a GPU has no
  // room for what the test writes.
  struct Offer {
    std::string name;                     // shared()->name()
    int copies = 1;                       // of the other side
    std::vector<std::string> gpu_memory;  // likewise
    uint32_t mapper_id = 0;
  };
  static absl::StatusOr<std::unique_ptr<KvStorage>> OpenShared(const KvLayout& layout,
                                                               const Offer& offer,
                                                               Backends backends = OnHost());
  ~KvStorage();

  const KvLayout& layout() const { return layout_; }
  KvView view() const { return {.base = bases_[0], .layout = &layout_, .copies = bases_}; }

  // Bytes of the pool from `offset` on, within it: read from the first copy, written to all. From
  // any thread.
  void Read(uint64_t offset, absl::Span<char> to) const;
  void Write(uint64_t offset, absl::string_view bytes) const;

  Backends backends() const { return backends_; }
  // Whether each rank can work in its copy: not so in another GPU's memory, which only copies
  // reach.
  bool near() const { return near_; }
  // The handle of each copy of a shared pool on GPUs; else empty.
  const std::vector<std::string>& gpu_memory() const { return gpu_memory_; }

  // Null for private storage.
  const SharedMemory* shared() const { return shared_.get(); }
  // The size of the object of a shared pool.
  static uint64_t ObjectBytes(const KvLayout& layout, const Offer& offer);

  // Shared only: the cells of a link, a cell of each copy side by side.
  static size_t TestOffset(uint32_t link_id) { return link_id % kTestCells * kTestCellBytes; }
  size_t pattern_bytes() const { return bases_.size() * kTestCellBytes; }
  std::string ReadTest(uint32_t link_id) const;
  // Into another process's GPU memory as rows are written there, by the GPU's own stores: a way on
  // which copies can be right and these lost.
  void WriteTest(uint32_t link_id, absl::string_view pattern) const;

 private:
  KvStorage(const KvLayout& layout, Backends backends);
  bool host() const { return backends_[0]->ReadsHost(); }
  void PlaceInObject();
  absl::Status NoMemory(uint64_t bytes, size_t rank) const;

  const KvLayout layout_;
  const std::vector<kernels::Backend*> backends_;
  // Each rank's.
  std::vector<std::unique_ptr<kernels::Memory>> private_;
  std::vector<uint8_t*> imported_;
  std::vector<uint8_t*> answers_;  // beside it: what is written into its test cell
  bool near_ = true;               // all of them
  std::vector<std::string> gpu_memory_;
  std::vector<std::byte*> bases_;
  std::unique_ptr<SharedMemory> shared_;
};

// The inverted bytes: what the other side of a self-test must answer.
std::string Inverted(absl::string_view pattern);

}  // namespace tandem
