// SPDX-License-Identifier: Apache-2.0
// Goal: a prefill worker's load is what this router knows to be unread there, before the worker
// tells of it and no longer. Method: fake workers that say that nothing waits.
#include "services/router/workers/worker_table.h"

#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/services/router/fake_workers.h"

namespace tandem {
namespace {

class WorkerTableTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    const absl::Time end = absl::Now() + absl::Seconds(60);
    while (table_.Up() != WorkersUp{.prefill = 2, .decode = 1, .pair = true}) {
      ASSERT_LT(absl::Now(), end);
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
  std::unique_ptr<Assignment> Assign(uint32_t prompt) {
    auto assignment = table_.Assign({.prompt = prompt, .all = prompt + 5});
    EXPECT_TRUE(assignment.ok()) << assignment.status();
    return *std::move(assignment);
  }

  Stage stage_;
  FakeWorker first_{stage_, {.role = v1::WORKER_ROLE_PREFILL}};
  FakeWorker second_{stage_, {.role = v1::WORKER_ROLE_PREFILL, .says_tokens = GetParam()}};
  FakeWorker decode_{stage_, {.role = v1::WORKER_ROLE_DECODE}};
  WorkerTable table_{
      {.prefill = {first_.endpoint(), second_.endpoint()}, .decode = {decode_.endpoint()}}};
};

TEST_P(WorkerTableTest, ALongPromptCountsUntilItIsRead) {
  const auto where = [](const std::unique_ptr<Assignment>& it) { return it->prefill().endpoint(); };
  const auto long_prompt = Assign(3000);
  EXPECT_EQ(where(long_prompt), first_.endpoint());
  const auto second = Assign(10), third = Assign(10);
  EXPECT_EQ(where(second), second_.endpoint());
  // By requests it would be the first one's turn: so it is where one does not say its tokens.
  EXPECT_EQ(where(third), GetParam() ? second_.endpoint() : first_.endpoint());
  long_prompt->PromptRead();
  long_prompt->PromptRead();  // it was
  const auto fourth = Assign(10);
  EXPECT_EQ(where(fourth), GetParam() ? first_.endpoint() : second_.endpoint());
}

INSTANTIATE_TEST_SUITE_P(Says, WorkerTableTest, testing::Bool());

}  // namespace
}  // namespace tandem
