// SPDX-License-Identifier: Apache-2.0
// SharedMemory: a POSIX shared memory object that one process owns and others map, with a proof of
// who still maps it.
//
// Every mapper holds a lock on a byte of the object named by its `mapper_id` (an
// open-file-description lock: the kernel drops it when the process ends, however it ends). The
// owner asks MapperAlive before it reuses memory that a lost mapper could still write. The owner
// holds such a lock too, so that a later process can tell an abandoned object from a live one and
// remove it. Thread-safety: const methods from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tandem {

class SharedMemory {
 public:
  // What an object is for: how its name begins.
  static constexpr absl::string_view kPool = "/tandem-kv-";
  static constexpr absl::string_view kWeights = "/tandem-weights-";

  // A new object of `bytes` zero bytes with a fresh name. All of it is reserved now:
  // RESOURCE_EXHAUSTED names the size if /dev/shm has no room (a later access could only die of
  // SIGBUS).
  static absl::StatusOr<std::unique_ptr<SharedMemory>> Create(size_t bytes,
                                                              absl::string_view use = kPool);

  // Maps an object of another process. NOT_FOUND or FAILED_PRECONDITION if it is not there or
  // smaller.
  static absl::StatusOr<std::unique_ptr<SharedMemory>> Open(absl::string_view name, size_t bytes,
                                                            uint32_t mapper_id);

  // The names of all objects of a use, abandoned ones as well.
  static std::vector<std::string> List(absl::string_view use);

  // Removes objects whose owners are gone; returns how many.
  static int RemoveAbandoned();

  // Unmaps; the owner also removes the name.
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  const std::string& name() const { return name_; }

  // Does the owner still hold the object?
  bool OwnerAlive() const { return MapperAlive(0); }
  // Owner: does some process still map the object under this id?
  bool MapperAlive(uint32_t mapper_id) const;

 private:
  SharedMemory(std::string name, int fd, std::byte* data, size_t size, bool owner)
      : name_(std::move(name)), fd_(fd), data_(data), size_(size), owner_(owner) {}

  std::string name_;
  int fd_;
  std::byte* data_;
  size_t size_;
  bool owner_;
};

}  // namespace tandem
