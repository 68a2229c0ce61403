// SPDX-License-Identifier: Apache-2.0
// Goal: a prompt of V4-Flash gets from one process's GPU into another's pages, to the byte, by the
// kinds ipc and nccl; what is left to wait for at its end is short; and NCCL notices a peer that
// dies. Method: the decode worker's half is a process of its own on the machine's last GPUs; times
// are printed, and no wait lasts for ever. NCCL takes no two ranks on one GPU, so with one GPU that
// is what is tested.
#include <signal.h>

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "kernels/common/cuda/cuda_backend.h"
#include "kernels/common/probe/gpu_list.h"
#include "services/runtime/transfer/channels/kv_copier.h"
#include "services/runtime/transfer/nccl/nccl_end.h"
#include "tests/services/runtime/transfer/nccl/decode_side.h"
#include "tests/services/runtime/transfer/nccl/prompt_rows.h"
#include "tests/services/runtime/transfer/nccl/wait_limit.h"

namespace tandem {
namespace {

int Gpus() {
  return static_cast<int>(kernels::ListGpus().gpus.size());
}

// A prefill worker's staging pool, on the first GPUs.
struct Prefill {
  explicit Prefill(int ranks) {
    for (int r = 0; r < ranks; ++r) {
      gpus.push_back(kernels::MakeCudaBackend(r, absl::StrCat("prefill ", r)));
      backends.push_back(gpus.back().get());
    }
    rows = *KvStorage::CreatePrivate(StagingLayout(), backends);
    rows->Write(0, MakeRows());
  }
  std::vector<std::unique_ptr<kernels::Backend>> gpus;
  std::vector<kernels::Backend*> backends;
  std::unique_ptr<KvStorage> rows;
};

// One part's way, begun; returns when it has left this side.
class Outcome {
 public:
  explicit Outcome(const char* what) : what_(what) {}
  std::function<void(absl::Status)> Hear() {
    return [this](absl::Status status) {
      status_ = std::move(status);
      come_.Notify();
    };
  }
  absl::Status Await() {
    const WaitLimit limit(what_);
    come_.WaitForNotification();
    return status_;
  }

 private:
  const char* const what_;
  absl::Notification come_;
  absl::Status status_;
};

void Say(const char* kind, bool scattered, bool ahead, absl::Duration waited) {
  std::cout << kind << ": " << kTokens << " tokens in "
            << (scattered ? "scattered" : "neighbouring") << " pages, "
            << (ahead ? "half of it ahead" : "all at the end") << ": exposed "
            << absl::ToDoubleMilliseconds(waited) << " ms" << std::endl;
}

// `send` brings a part over and comes back when all of it is there.
void HandOver(const char* kind, const DecodeSide& decode,
              const std::function<void(bool scattered, bool rest)>& send) {
  for (const bool scattered : {false, true}) {
    for (const bool ahead : {false, true, false, true}) {
      // A GPU that has computed a prompt is awake; one that was idle takes milliseconds for it.
      for (int i = 0; i < 20; ++i) send(scattered, /*rest=*/false);
      const absl::Time begin = absl::Now();
      if (!ahead) send(scattered, /*rest=*/false);
      send(scattered, /*rest=*/true);
      Say(kind, scattered, ahead, absl::Now() - begin);
      decode.Tell(absl::StrCat("compare ", scattered ? "scattered" : "in-order"));
      EXPECT_EQ(decode.Hear().substr(0, 5), "0 of ");
    }
  }
}

TEST(HandOverCudaTest, ByIpc) {
  const DecodeSide decode(1);
  const std::vector<std::string> offer = absl::StrSplit(decode.Hear(), ' ');
  Prefill prefill(1);
  const KvStorage::Offer offered{
      .name = offer.at(0), .gpu_memory = {absl::HexStringToBytes(offer.at(1))}, .mapper_id = 1};
  auto mapped = KvStorage::OpenShared(DecodeLayout(), offered, prefill.backends);
  ASSERT_TRUE(mapped.ok()) << mapped.status();
  EXPECT_EQ((*mapped)->near(), Gpus() == 1);
  std::cout << "ipc " << (Gpus() == 1 ? "within one GPU" : "between two GPUs") << "\n";
  KvCopier copier(prefill.backends, absl::Seconds(20));
  const std::atomic<bool> cancelled = false;
  const Place from = Staged();
  HandOver("ipc", decode, [&](bool scattered, bool rest) {
    const Place to = Granted(scattered);
    const KvRoute route{.from = &prefill.rows->layout(),
                        .from_place = from.at(),
                        .to = &(*mapped)->layout(),
                        .to_place = to.at()};
    Outcome outcome("a part's copy by ipc");
    copier.Copy({.from = prefill.rows.get(),
                 .to = mapped->get(),
                 .copies = CopiesOf(route, rest ? Rest() : Ahead()),
                 .cancelled = &cancelled,
                 .done = outcome.Hear()});
    EXPECT_TRUE(outcome.Await().ok());
  });
}

// The sending end of a communicator with `copies` receivers in the other process.
class Sender {
 public:
  Sender(const DecodeSide& decode, Prefill& prefill, int copies, absl::Duration limit)
      : prefill_(prefill), decode_(decode) {
    (void)decode.Hear();  // its offer
    std::string why;
    port_ = NcclPort::Find(prefill.backends, &why);
    EXPECT_NE(port_, nullptr) << why;
    const int senders = std::min(copies, static_cast<int>(prefill.backends.size()));
    end_ = std::make_unique<NcclEnd>(NcclEnd::Options{
        .port = port_.get(),
        .sends = true,
        .senders = senders,
        .receivers = copies,
        .pattern = std::string(static_cast<size_t>(copies) * KvStorage::kTestCellBytes, '!'),
        .limit = limit,
        .named =
            [&decode, senders](const absl::StatusOr<std::string>& id) {
              ASSERT_TRUE(id.ok()) << id.status();
              decode.Tell(absl::StrCat("join ", absl::BytesToHexString(*id), " ", senders));
            },
        .joined = joined.Hear(),
        .lost = lost.Hear()});
  }

  void Begin(bool scattered, bool rest, Outcome& outcome) {
    decode_.Tell(absl::StrCat(rest ? "rest " : "ahead ", scattered ? "scattered" : "in-order"));
    end_->Do({.storage = prefill_.rows.get(),
              .extents = prefill_.rows->layout().Extents(Staged().at(), rest ? Rest() : Ahead()),
              .done = outcome.Hear()});
  }

  ~Sender() {
    const WaitLimit limit("the communicator's end");
    end_.reset();
  }
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  Outcome joined{"the senders to join and send the pattern"}, lost{"word that the peer is lost"};

 private:
  Prefill& prefill_;
  const DecodeSide& decode_;
  std::unique_ptr<NcclPort> port_;
  std::unique_ptr<NcclEnd> end_;
};

void HandOverByNccl(int prefill_ranks, int decode_ranks) {
  std::cout << "nccl, " << prefill_ranks << " ranks to " << decode_ranks << std::endl;
  const DecodeSide decode(decode_ranks);
  Prefill prefill(prefill_ranks);
  const absl::Time begin = absl::Now();
  Sender sender(decode, prefill, decode_ranks, DecodeSide::kLimit);
  const absl::Status joined = sender.joined.Await();
  const std::string theirs = decode.Hear();
  std::cout << "prefill: " << joined << ", decode: " << theirs << ", after "
            << absl::ToDoubleMilliseconds(absl::Now() - begin) << " ms" << std::endl;
  if (Gpus() < prefill_ranks + decode_ranks) {
    std::cout << "it takes " << prefill_ranks + decode_ranks << " GPUs" << std::endl;
    EXPECT_FALSE(joined.ok());
    EXPECT_NE(theirs, "OK");
    return;
  }
  ASSERT_TRUE(joined.ok()) << joined;
  ASSERT_EQ(theirs, "OK");
  HandOver("nccl", decode, [&](bool scattered, bool rest) {
    Outcome outcome("a part to have left by nccl");
    sender.Begin(scattered, rest, outcome);
    EXPECT_TRUE(outcome.Await().ok());
    decode.Tell("await");
    EXPECT_EQ(decode.Hear(), "here");
  });
}

TEST(HandOverCudaTest, ByNccl) {
  HandOverByNccl(1, 1);
}

TEST(HandOverCudaTest, ByNcclToMoreRanks) {
  if (Gpus() > 2) HandOverByNccl(1, 2);
}

TEST(HandOverCudaTest, ByNcclToFewerRanks) {
  if (Gpus() > 2) HandOverByNccl(2, 1);
}

TEST(HandOverCudaTest, ByNcclFromTwoRanksToTwo) {
  if (Gpus() > 3) HandOverByNccl(2, 2);
}

TEST(HandOverCudaTest, NcclNoticesAPeerThatDiesMidway) {
  if (Gpus() < 2) return;
  auto decode = std::make_unique<DecodeSide>(1);
  Prefill prefill(1);
  Sender sender(*decode, prefill, 1, absl::Seconds(2));
  ASSERT_TRUE(sender.joined.Await().ok());
  ASSERT_EQ(decode->Hear(), "OK");
  kill(decode->pid(), SIGKILL);
  const absl::Time begin = absl::Now();
  // NCCL's own buffers take some more, which nobody reads.
  absl::Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) {
    Outcome outcome("a part to nobody to fail");
    sender.Begin(false, true, outcome);
    status = outcome.Await();
    if (status.ok()) std::cout << "nccl: a part was sent to nobody" << std::endl;
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(sender.lost.Await().code(), absl::StatusCode::kUnavailable);
  std::cout << "nccl: a dead peer is noticed after "
            << absl::ToDoubleMilliseconds(absl::Now() - begin) << " ms" << std::endl;
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == tandem::DecodeSide::kFlag)
    return tandem::DecodeSide::Main(std::stoi(argv[2]));
  testing::InitGoogleTest(&argc, argv);
  signal(SIGPIPE, SIG_IGN);
  return RUN_ALL_TESTS();
}
