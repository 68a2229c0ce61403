// SPDX-License-Identifier: Apache-2.0
// Goal: one copy of the weights serves both workers; when its holder is killed, the worker that
// follows says so and ends, and both can be started again, with nothing left of the first copy.
// Method: the three programs with WEIGHTS_SHARED; the copy by its name in /dev/shm, which both map.
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/e2e/client.h"
#include "tests/e2e/cluster.h"

namespace tandem {
namespace {

using testing::HasSubstr;

// The copy that a process maps; empty: none.
std::string CopyOf(pid_t pid) {
  std::ifstream maps(absl::StrCat("/proc/", pid, "/maps"));
  for (std::string line; std::getline(maps, line);) {
    if (const size_t at = line.find("/dev/shm/tandem-weights-"); at != std::string::npos)
      return line.substr(at);
  }
  return "";
}

Outcome Ask(const Cluster& cluster) {
  return Generate(*cluster.NewClient(), GreedyRequest({5, 6, 7, 8}, 12),
                  {.deadline = absl::Seconds(60)});
}

TEST(SharedWeightsTest, AKilledHolderTakesItsFollowerWithIt) {
  Cluster cluster({.one_copy = true});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(60)).ok()) << cluster.log("prefill-0");
  const std::string first = CopyOf(cluster.pid("decode-0"));
  ASSERT_NE(first, "");
  EXPECT_EQ(CopyOf(cluster.pid("prefill-0")), first);
  EXPECT_THAT(cluster.log("decode-0"), HasSubstr("weights-held"));
  EXPECT_THAT(cluster.log("prefill-0"), HasSubstr("weights-followed"));
  const Outcome before = Ask(cluster);
  ASSERT_TRUE(before.status.ok()) << before.status;

  cluster.Kill("decode-0");
  EXPECT_EQ(cluster.AwaitEnd("prefill-0", absl::Seconds(20)), 1);
  EXPECT_THAT(cluster.log("prefill-0"), HasSubstr("weights-holder-gone"));
  EXPECT_TRUE(std::filesystem::exists(first)) << "nobody has tidied up";

  cluster.Start("prefill-0");  // waits for a holder
  cluster.Start("decode-0");
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(60)).ok()) << cluster.log("prefill-0");
  const std::string second = CopyOf(cluster.pid("decode-0"));
  EXPECT_NE(second, first);
  EXPECT_EQ(CopyOf(cluster.pid("prefill-0")), second);
  EXPECT_FALSE(std::filesystem::exists(first));
  // Its memory was free before a new one was taken.
  const std::string log = cluster.log("decode-0");
  EXPECT_LT(log.find("removed-abandoned-memory"), log.rfind("weights-held"));
  const Outcome after = Ask(cluster);
  ASSERT_TRUE(after.status.ok()) << after.status;
  EXPECT_EQ(after.only().tokens, before.only().tokens);
  for (const std::string name : {"prefill-0", "decode-0", "router"})
    EXPECT_EQ(cluster.Terminate(name, absl::Seconds(30)), 0) << name;
  EXPECT_FALSE(std::filesystem::exists(second));
}

}  // namespace
}  // namespace tandem
