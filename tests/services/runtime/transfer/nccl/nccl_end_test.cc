// SPDX-License-Identifier: Apache-2.0
// Goal: rows get from end to end to the byte whatever the number of ranks; and whatever the other
// side does, or does not, every wait ends and every order is told so. Method: both ends in this
// process, over a network that is made up.
#include "services/runtime/transfer/nccl/nccl_end.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/services/runtime/transfer/nccl/fake_nccl.h"

namespace tandem {
namespace {

using testing::HasSubstr;

// A result that comes once.
class Outcome {
 public:
  std::function<void(absl::Status)> Hear() {
    return [this](absl::Status status) {
      status_ = std::move(status);
      come_.Notify();
    };
  }
  absl::Status Await() {
    EXPECT_TRUE(come_.WaitForNotificationWithTimeout(absl::Seconds(20)));
    return status_;
  }
  bool has_come() const { return come_.HasBeenNotified(); }

 private:
  absl::Notification come_;
  absl::Status status_;
};

KvLayout Layout(int pages) {
  ModelConfig config;
  config.num_hidden_layers = 3;
  config.compress_ratios = {0, 4, 128};
  return KvLayout::Create(config, {.pages = pages, .slots = 2}).value();
}

// One worker: a rank each on the host, a pool, an end.
struct Side {
  Side(Nccl& nccl, int ranks, int pages)
      : backends(static_cast<size_t>(ranks), &kernels::HostBackend()),
        port(nccl, backends),
        rows(*KvStorage::CreatePrivate(Layout(pages), backends)) {}

  void Begin(NcclEnd::Options options) {
    options.port = &port;
    options.joined = joined.Hear();
    options.lost = lost.Hear();
    end = std::make_unique<NcclEnd>(std::move(options));
  }
  void Do(std::vector<KvExtent> extents, Outcome& outcome,
          const std::atomic<bool>* cancelled = nullptr) {
    end->Do({.storage = rows.get(),
             .extents = std::move(extents),
             .cancelled = cancelled,
             .done = outcome.Hear()});
  }
  // Of a copy.
  std::string Read(int copy, const KvExtent& extent) const {
    const std::byte* const at = rows->view().copies[copy] + extent.offset;
    return std::string(reinterpret_cast<const char*>(at), extent.bytes);
  }

  std::vector<kernels::Backend*> backends;
  NcclPort port;
  std::unique_ptr<KvStorage> rows;
  Outcome joined, lost;
  std::unique_ptr<NcclEnd> end;
};

class Pair {
 public:
  Pair(int prefill_ranks, int decode_ranks, int pages = 8)
      : sender(nccl, prefill_ranks, pages), receiver(nccl, decode_ranks, pages) {}

  void Join(absl::Duration limit = absl::Seconds(10)) {
    const int copies = static_cast<int>(receiver.backends.size());
    const int senders = std::min(copies, static_cast<int>(sender.backends.size()));
    std::string pattern;
    for (int i = 0; i < copies; ++i) pattern.append(KvStorage::kTestCellBytes, 'a' + i);
    const NcclEnd::Options options{
        .senders = senders, .receivers = copies, .pattern = pattern, .limit = limit};
    NcclEnd::Options sends = options;
    sends.sends = true;
    sends.named = [&, options](absl::StatusOr<std::string> id) {
      if (!id.ok()) return;
      NcclEnd::Options receives = options;
      receives.id = *id;
      receiver.Begin(std::move(receives));
      named.Notify();
    };
    sender.Begin(std::move(sends));
  }
  void Fill() const {
    std::string bytes(sender.rows->layout().bytes(), '\0');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 2654435761U >> 13);
    sender.rows->Write(0, bytes);
  }

  FakeNccl nccl;
  absl::Notification named;
  Side sender, receiver;
};

// They end beside whoever ends them.
void ExpectNoneAlive(FakeNccl& nccl) {
  for (int i = 0; i < 10000 && nccl.alive() > 0; ++i) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(nccl.alive(), 0);
}

TEST(NcclEndTest, RowsArriveWhateverTheRanks) {
  const std::vector<std::pair<int, int>> shapes = {{1, 1}, {2, 1}, {1, 2}, {2, 4}, {4, 2}, {2, 2}};
  for (const auto& [prefill, decode] : shapes) {
    SCOPED_TRACE(testing::Message() << prefill << " to " << decode);
    Pair pair(prefill, decode);
    pair.Fill();
    pair.Join();
    ASSERT_TRUE(pair.sender.joined.Await().ok());
    ASSERT_TRUE(pair.receiver.joined.Await().ok());
    const std::vector<int> here = {3, 1, 2}, there = {5, 6, 0};
    for (const KvPart& part : {KvPart{.tokens = 512, .states = false},
                               KvPart{.tokens = 701, .first_page = 2}, KvPart{.tokens = 3}}) {
      const auto from = pair.sender.rows->layout().Extents({.slot = 1, .pages = here}, part);
      const auto to = pair.receiver.rows->layout().Extents({.slot = 0, .pages = there}, part);
      Outcome sent, received;
      pair.sender.Do(from, sent);
      pair.receiver.Do(to, received);
      EXPECT_TRUE(sent.Await().ok());
      EXPECT_TRUE(received.Await().ok());
      for (int copy = 0; copy < decode; ++copy) {
        for (size_t i = 0; i < from.size(); ++i) {
          ASSERT_EQ(pair.sender.Read(0, from[i]), pair.receiver.Read(copy, to[i])) << i;
        }
      }
    }
  }
}

TEST(NcclEndTest, WhatIsLargerThanAMessageGoesInSeveral) {
  Pair pair(1, 1, 900);
  pair.Fill();
  pair.Join();
  ASSERT_TRUE(pair.receiver.joined.Await().ok());
  const int64_t before = pair.nccl.messages();
  const KvExtent all{.offset = 0, .bytes = NcclPort::kMessageBytes + 4096};
  Outcome sent, received;
  pair.sender.Do({{.offset = 256, .bytes = 20}, all}, sent);
  pair.receiver.Do({{.offset = 512, .bytes = 20}, all}, received);
  EXPECT_TRUE(sent.Await().ok());
  EXPECT_TRUE(received.Await().ok());
  EXPECT_EQ(pair.nccl.messages() - before, 2);
  EXPECT_EQ(pair.sender.Read(0, {.offset = 256, .bytes = 20}),
            pair.receiver.Read(0, {.offset = 256, .bytes = 20}));
  EXPECT_EQ(pair.sender.Read(0, all), pair.receiver.Read(0, all));
}

TEST(NcclEndTest, ASideThatNeverJoinsIsWaitedForUpToTheLimit) {
  FakeNccl nccl;
  Side alone(nccl, 1, 8);
  alone.Begin({.id = "1", .pattern = std::string(64, 'x'), .limit = absl::Milliseconds(50)});
  const absl::Status status = alone.joined.Await();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("not there within 50ms"));
  alone.end.reset();
  EXPECT_FALSE(alone.lost.has_come());
  ExpectNoneAlive(nccl);
}

TEST(NcclEndTest, OtherBytesThanWereSentAreFound) {
  Pair pair(1, 2);
  pair.nccl.corrupts = true;
  pair.Join();
  pair.named.WaitForNotification();
  EXPECT_EQ(pair.receiver.joined.Await().code(), absl::StatusCode::kDataLoss);
}

TEST(NcclEndTest, AnIdThatIsNotToBeHadIsSaid) {
  Pair pair(1, 1);
  pair.nccl.no_id = true;
  pair.Join();
  EXPECT_THAT(std::string(pair.sender.joined.Await().message()), HasSubstr("no network"));
}

TEST(NcclEndTest, AMessageThatNeverArrivesEndsAllOfIt) {
  Pair pair(1, 1);
  pair.Join(absl::Seconds(2));  // of joining as well, and that succeeds
  ASSERT_TRUE(pair.receiver.joined.Await().ok());
  ASSERT_TRUE(pair.sender.joined.Await().ok());
  pair.nccl.stuck = true;
  Outcome first, second, received;
  pair.sender.Do({{.offset = 0, .bytes = 64}}, first);
  pair.sender.Do({{.offset = 0, .bytes = 64}}, second);
  pair.receiver.Do({{.offset = 0, .bytes = 64}}, received);
  for (Outcome* outcome : {&first, &second, &received, &pair.sender.lost, &pair.receiver.lost})
    EXPECT_EQ(outcome->Await().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(pair.receiver.end->Ended());
  ExpectNoneAlive(pair.nccl);
  Outcome late;
  pair.sender.Do({{.offset = 0, .bytes = 64}}, late);
  EXPECT_EQ(late.Await().code(), absl::StatusCode::kUnavailable);
}

TEST(NcclEndTest, AbortEndsWhatRuns) {
  Pair pair(1, 1);
  pair.Join();
  ASSERT_TRUE(pair.receiver.joined.Await().ok());
  Outcome received;
  pair.receiver.Do({{.offset = 0, .bytes = 64}}, received);  // nothing is ever sent
  pair.receiver.end->Abort();
  EXPECT_EQ(received.Await().code(), absl::StatusCode::kUnavailable);
  pair.receiver.end.reset();
  EXPECT_FALSE(pair.receiver.lost.has_come()) << "whoever aborts knows";
}

TEST(NcclEndTest, APeerThatNeverLeavesHoldsUpNobody) {
  Pair pair(2, 2);
  pair.Join();
  ASSERT_TRUE(pair.receiver.joined.Await().ok());
  pair.nccl.abort_waits = true;
  Outcome received;
  pair.receiver.Do({{.offset = 0, .bytes = 64}}, received);  // nothing is ever sent
  const absl::Time begin = absl::Now();
  pair.receiver.end.reset();
  EXPECT_EQ(received.Await().code(), absl::StatusCode::kUnavailable);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(5));
  // What the communicator had is nobody's until it has ended.
  std::vector<std::vector<NcclPort::Lane>> taken;
  for (int i = 1; i < NcclPort::kLinksMax; ++i) taken.push_back(*pair.receiver.port.Take(2));
  EXPECT_FALSE(pair.receiver.port.Take(2).ok());
  pair.nccl.abort_waits = false;
  absl::StatusOr<std::vector<NcclPort::Lane>> last = pair.receiver.port.Take(2);
  for (int i = 0; i < 10000 && !last.ok(); ++i) {
    absl::SleepFor(absl::Milliseconds(1));
    last = pair.receiver.port.Take(2);
  }
  ASSERT_TRUE(last.ok()) << last.status();
  pair.receiver.port.Give(*std::move(last));
  for (auto& lanes : taken) pair.receiver.port.Give(std::move(lanes));
}

TEST(NcclEndTest, WhatIsGivenUpIsSentUnread) {
  Pair pair(1, 1);
  pair.Join();
  ASSERT_TRUE(pair.receiver.joined.Await().ok());
  const std::atomic<bool> cancelled = true;
  const KvExtent page{.offset = 4096, .bytes = 4096};
  pair.Fill();
  Outcome sent, received;
  pair.sender.Do({page}, sent, &cancelled);
  pair.receiver.Do({page}, received);
  EXPECT_TRUE(sent.Await().ok());
  EXPECT_TRUE(received.Await().ok());
  EXPECT_NE(pair.sender.Read(0, page), pair.receiver.Read(0, page));
}

TEST(NcclEndTest, LinksAreCounted) {
  FakeNccl nccl;
  Side side(nccl, 2, 8);
  std::vector<std::vector<NcclPort::Lane>> taken;
  for (int i = 0; i < NcclPort::kLinksMax; ++i) taken.push_back(*side.port.Take(2));
  EXPECT_THAT(std::string(side.port.Take(1).status().message()), HasSubstr("at most 8 links"));
  uint8_t* const memory = taken.back()[1].memory;
  for (auto& lanes : taken) side.port.Give(std::move(lanes));
  EXPECT_EQ((*side.port.Take(2))[1].memory, memory);  // kept
}

}  // namespace
}  // namespace tandem
