// SPDX-License-Identifier: Apache-2.0
// Goal: whatever happens in whatever order, no page has two owners, none is reused while somebody
// may still write it, none is lost, nothing starves, every request ends once and rightly, and in
// the end all memory is free. Method: seeded runs of the whole hand-off with the real lease table,
// page pools and schedulers; what must hold is checked after every event. `sim_test SEED [EVENTS]`
// runs one seed.
#include <iostream>
#include <vector>

#include "absl/strings/numbers.h"
#include "gtest/gtest.h"
#include "tests/sim/world.h"

namespace tandem {
namespace {

struct Plan {
  uint64_t first_seed = 1;
  int seeds = 200;
  int events = 5000;
};

Plan& ThePlan() {
  static auto& plan = *new Plan;
  return plan;
}

void Add(const Seen& from, Seen& to) {
  for (int Tally::*part : {&Tally::complete, &Tally::refused, &Tally::cancelled, &Tally::late,
                           &Tally::failed, &Tally::abandoned}) {
    to.requests.*part += from.requests.*part;
  }
  for (int Seen::*part :
       {&Seen::events, &Seen::router_deaths, &Seen::prefill_deaths, &Seen::decode_deaths,
        &Seen::connections_lost, &Seen::forgeries, &Seen::quarantines}) {
    to.*part += from.*part;
  }
  to.leases_expired += from.leases_expired;
}

void Print(const Seen& seen) {
  const Tally& requests = seen.requests;
  std::cout << seen.events << " events; requests: " << requests.complete << " complete, "
            << requests.refused << " refused, " << requests.cancelled << " cancelled, "
            << requests.late << " late, " << requests.failed << " failed, " << requests.abandoned
            << " abandoned; " << seen.router_deaths << " router, " << seen.prefill_deaths
            << " prefill and " << seen.decode_deaths << " decode workers died, "
            << seen.connections_lost << " connections were lost, " << seen.leases_expired
            << " leases expired, " << seen.quarantines << " events with pages in quarantine, "
            << seen.forgeries << " forgeries\n";
}

TEST(SimTest, EveryOrderOfEventsLeavesMemoryWhole) {
  const Plan& plan = ThePlan();
  Seen all;
  for (uint64_t seed = plan.first_seed; seed < plan.first_seed + plan.seeds; ++seed) {
    // Said before: a CHECK ends the process.
    std::cout << "seed " << seed << std::endl;
    World world(seed);
    const absl::Status status = world.Run(plan.events);
    ASSERT_TRUE(status.ok()) << "seed " << seed << ": " << status.message() << "\nagain: sim_test "
                             << seed << " " << plan.events;
    Add(world.seen(), all);
  }
  Print(all);
  if (plan.seeds == 1) return;
  EXPECT_GT(all.requests.complete, all.requests.ended() / 5);
  for (const int64_t count :
       {int64_t{all.requests.refused}, int64_t{all.requests.cancelled}, int64_t{all.requests.late},
        int64_t{all.requests.failed}, int64_t{all.requests.abandoned}, int64_t{all.router_deaths},
        int64_t{all.prefill_deaths}, int64_t{all.decode_deaths}, int64_t{all.connections_lost},
        int64_t{all.forgeries}, int64_t{all.quarantines}, all.leases_expired}) {
    EXPECT_GT(count, 50) << "the runs do not see enough of something";
  }
}

TEST(SimTest, OneSeedIsOneRun) {
  World first(7);
  World second(7);
  EXPECT_TRUE(first.Run(1000).ok());
  EXPECT_TRUE(second.Run(1000).ok());
  EXPECT_EQ(first.seen().events, second.seen().events);
  EXPECT_EQ(first.seen().requests.complete, second.seen().requests.complete);
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  tandem::Plan& plan = tandem::ThePlan();
  if (argc > 1 && absl::SimpleAtoi(argv[1], &plan.first_seed)) plan.seeds = 1;
  if (argc > 2 && !absl::SimpleAtoi(argv[2], &plan.events)) return 2;
  return RUN_ALL_TESTS();
}
