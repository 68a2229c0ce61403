// SPDX-License-Identifier: Apache-2.0
// Goal: bytes are really shared, and the owner can tell a living mapper from a dead one. Method: a
// forked child maps and dies.
#include "services/runtime/kv/shared_memory.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/services/runtime/kv/held_child.h"

namespace tandem {
namespace {

constexpr size_t kBytes = 1 << 20;
constexpr uint32_t kMapper = 3;

TEST(SharedMemoryTest, WhatOneMapperWritesTheOwnerReads) {
  const auto owner = SharedMemory::Create(kBytes);
  ASSERT_TRUE(owner.ok()) << owner.status();
  {
    const auto mapper = SharedMemory::Open((*owner)->name(), kBytes, kMapper);
    ASSERT_TRUE(mapper.ok()) << mapper.status();
    (*mapper)->data()[kBytes - 1] = std::byte{42};
    EXPECT_EQ((*owner)->data()[kBytes - 1], std::byte{42});
    EXPECT_TRUE((*owner)->MapperAlive(kMapper));
    EXPECT_FALSE((*owner)->MapperAlive(kMapper + 1));
  }
  EXPECT_FALSE((*owner)->MapperAlive(kMapper)) << "unmapped";
}

TEST(SharedMemoryTest, AKilledMapperIsSeenToBeDeadAndAStoppedOneIsNot) {
  const auto owner = SharedMemory::Create(kBytes);
  ASSERT_TRUE(owner.ok()) << owner.status();
  const pid_t child =
      ForkHolder([&owner] { return SharedMemory::Open((*owner)->name(), kBytes, kMapper); });
  kill(child, SIGSTOP);
  EXPECT_TRUE((*owner)->MapperAlive(kMapper));
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_FALSE((*owner)->MapperAlive(kMapper));
}

TEST(SharedMemoryTest, RefusesWhatIsNotThereTooSmallOrNotOurs) {
  EXPECT_EQ(SharedMemory::Open("/tandem-kv-none", kBytes, kMapper).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(SharedMemory::Open("/somebody-else", kBytes, kMapper).status().code(),
            absl::StatusCode::kInvalidArgument);
  const auto owner = SharedMemory::Create(kBytes);
  ASSERT_TRUE(owner.ok());
  EXPECT_EQ(SharedMemory::Open((*owner)->name(), kBytes + 1, kMapper).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(SharedMemory::Create(size_t{1} << 50).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(SharedMemoryTest, RemovesWhatADeadOwnerLeftAndNothingElse) {
  int name_pipe[2];
  ASSERT_EQ(pipe(name_pipe), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto owner = SharedMemory::Create(kBytes);
    const std::string name = owner.ok() ? (*owner)->name() : "";
    (void)!write(name_pipe[1], name.data(), name.size());
    _exit(0);  // no destructor: as if killed
  }
  char name[64] = {};
  ASSERT_GT(read(name_pipe[0], name, sizeof(name) - 1), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  const auto alive = SharedMemory::Create(kBytes);
  ASSERT_TRUE(alive.ok());
  ASSERT_TRUE(SharedMemory::Open(name, kBytes, kMapper).ok());
  EXPECT_GE(SharedMemory::RemoveAbandoned(), 1);
  EXPECT_FALSE(SharedMemory::Open(name, kBytes, kMapper).ok());
  EXPECT_TRUE(SharedMemory::Open((*alive)->name(), kBytes, kMapper).ok());
  close(name_pipe[0]);
  close(name_pipe[1]);
}

}  // namespace
}  // namespace tandem
