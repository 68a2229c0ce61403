// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/kv/shared_memory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/random.h"

namespace tandem {
namespace {

// Locks lie past any object's end: a byte of the lock space is a name, not memory. Byte 0 is the
// owner's.
constexpr off_t kLockSpace = off_t{1} << 48;
constexpr uint32_t kOwner = 0;

struct flock LockOf(uint32_t id) {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = kLockSpace + id;
  lock.l_len = 1;
  return lock;
}

bool TakeLock(int fd, uint32_t id) {
  struct flock lock = LockOf(id);
  return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

bool LockedByOther(int fd, uint32_t id) {
  struct flock lock = LockOf(id);
  // If the question fails, the safe answer is that somebody is there.
  return fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

absl::Status Failed(absl::string_view what, absl::string_view name, int error) {
  return absl::InternalError(
      absl::StrCat("shared memory ", name, ": ", what, ": ", std::strerror(error)));
}

absl::StatusOr<std::byte*> Map(int fd, size_t bytes, absl::string_view name) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return Failed("mmap", name, errno);
  return static_cast<std::byte*>(data);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SharedMemory>> SharedMemory::Create(size_t bytes,
                                                                   absl::string_view use) {
  const std::string name = absl::StrCat(use, absl::Hex(RandomId(), absl::kZeroPad16));
  const int fd = shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) return Failed("shm_open", name, errno);
  absl::Cleanup undo = [&] {
    shm_unlink(name.c_str());
    close(fd);
  };
  if (!TakeLock(fd, kOwner)) return Failed("lock", name, errno);
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) return Failed("ftruncate", name, errno);
  if (const int error = posix_fallocate(fd, 0, static_cast<off_t>(bytes)); error != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("shared memory: /dev/shm has no room for ",
                                                     bytes, " bytes: ", std::strerror(error)));
  }
  auto data = Map(fd, bytes, name);
  if (!data.ok()) return data.status();
  std::move(undo).Cancel();
  return std::unique_ptr<SharedMemory>(new SharedMemory(name, fd, *data, bytes, /*owner=*/true));
}

absl::StatusOr<std::unique_ptr<SharedMemory>> SharedMemory::Open(absl::string_view name,
                                                                 size_t bytes, uint32_t mapper_id) {
  const std::string path(name);
  if (!absl::StartsWith(path, kPool) && !absl::StartsWith(path, kWeights)) {
    return absl::InvalidArgumentError(
        absl::StrCat("shared memory ", name, ": not an object of this product"));
  }
  const int fd = shm_open(path.c_str(), O_RDWR | O_CLOEXEC, 0);
  if (fd < 0)
    return absl::NotFoundError(absl::StrCat("shared memory ", name, ": ", std::strerror(errno)));
  absl::Cleanup undo = [fd] { close(fd); };
  struct stat info = {};
  if (fstat(fd, &info) != 0) return Failed("fstat", name, errno);
  if (static_cast<size_t>(info.st_size) < bytes) {
    return absl::FailedPreconditionError(absl::StrCat("shared memory ", name, ": ", info.st_size,
                                                      " bytes, ", bytes, " were offered"));
  }
  if (mapper_id == kOwner || !TakeLock(fd, mapper_id)) return Failed("lock", name, EBUSY);
  auto data = Map(fd, bytes, name);
  if (!data.ok()) return data.status();
  std::move(undo).Cancel();
  return std::unique_ptr<SharedMemory>(new SharedMemory(path, fd, *data, bytes, /*owner=*/false));
}

std::vector<std::string> SharedMemory::List(absl::string_view use) {
  std::vector<std::string> out;
  DIR* folder = opendir("/dev/shm");
  if (folder == nullptr) return out;
  while (const dirent* entry = readdir(folder)) {  // NOLINT(concurrency-mt-unsafe): own stream.
    std::string name = absl::StrCat("/", entry->d_name);
    if (absl::StartsWith(name, use)) out.push_back(std::move(name));
  }
  closedir(folder);
  return out;
}

int SharedMemory::RemoveAbandoned() {
  int removed = 0;
  for (const absl::string_view use : {kPool, kWeights}) {
    for (const std::string& name : List(use)) {
      const int fd = shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0);
      if (fd < 0) continue;
      // An owner takes its lock before it gives the object a size: an empty one may just be coming
      // to life.
      struct stat info = {};
      const bool grown = fstat(fd, &info) == 0 && info.st_size > 0;
      if (grown && !LockedByOther(fd, kOwner) && shm_unlink(name.c_str()) == 0) ++removed;
      close(fd);
    }
  }
  return removed;
}

SharedMemory::~SharedMemory() {
  // In this order: the lock must not outlive the mapping, nor the mapping the lock.
  munmap(data_, size_);
  close(fd_);
  if (owner_) shm_unlink(name_.c_str());
}

bool SharedMemory::MapperAlive(uint32_t mapper_id) const {
  return LockedByOther(fd_, mapper_id);
}

}  // namespace tandem
