// SPDX-License-Identifier: Apache-2.0
// Goal: by ipc a prompt's last rows leave layer by layer while their step still runs, of every
// prompt that ends in it, in all the bytes that one hand-off at its end would move; of a prompt
// that ends early nothing leaves any more. Method: both workers in this process, pools on GPUs that
// are made up, a step that stands behind half of its layers; goldens of tiny-v4, which has six.
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/status.h"
#include "tests/e2e/workers/gated_engine.h"
#include "tests/e2e/workers/gated_gpu.h"
#include "tests/e2e/workers/test_workers.h"

namespace tandem {
namespace {

constexpr size_t kLayers = 6;

template <typename Came>
bool Await(const Came& came) {
  const absl::Time end = absl::Now() + absl::Seconds(60);
  while (!came()) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

// Whether some series of the worker's metric has the value.
bool Says(const TestPrefill& prefill, const std::string& metric, int64_t value) {
  const std::string text = prefill.Metrics();
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::StartsWith(line, absl::StrCat(metric, "{")) &&
        absl::EndsWith(line, absl::StrCat("} ", value))) {
      return true;
    }
  }
  return false;
}

// Who asks with a golden's prompt, and expects its answer when it ends.
class Asker {
 public:
  Asker(TestPrefill& prefill, TestDecode& decode, const std::string& golden)
      : client_("client", [&prefill, &decode, golden = TinyGolden(golden)] {
          const Answer answer = Ask(prefill, decode,
                                    {.prompt = golden.prompt,
                                     .max_tokens = static_cast<int>(golden.answer.size()),
                                     .sampling = Greedy()});
          EXPECT_EQ(answer.tokens, golden.answer) << answer.status;
        }) {}

 private:
  Thread client_;
};

class LayersTest : public testing::Test {
 protected:
  // Prompts of up to 323 tokens are read in one chunk.
  TestPrefill::Options Halfway() {
    return {.chunk_tokens = 1024,
            .staging_pages = 4,
            .preferred = v1::KV_CHANNEL_KIND_IPC,
            .strict = true,
            .backend = &near_,
            .engine = [this](std::unique_ptr<Engine> engine) {
              return std::make_unique<HalfwayEngine>(std::move(engine), gate_);
            }};
  }
  bool AwaitOrders(size_t count) {
    return Await([&] { return near_.orders().size() >= count; });
  }
  int64_t BytesOfOrders() const {
    const std::vector<int64_t> orders = near_.orders();
    return std::accumulate(orders.begin(), orders.end(), int64_t{0});
  }

  FakeGpu far_{"0000:01:00.0"};
  GatedGpu near_{"0000:02:00.0"};
  StepGate gate_;
};

TEST_F(LayersTest, LeaveWhileTheirStepRuns) {
  TestDecode decode({.backend = &far_});
  TestPrefill prefill(Halfway());
  std::unique_ptr<Asker> asker;
  const absl::Cleanup open = [this] { gate_.Open(); };
  gate_.Shut();
  asker = std::make_unique<Asker>(prefill, decode, "recall");
  ASSERT_TRUE(gate_.AwaitStep());
  EXPECT_TRUE(AwaitOrders(kLayers / 2)) << "else nothing leaves before the step is over";
  gate_.Open();
  asker.reset();
  EXPECT_EQ(near_.orders().size(), kLayers) << "and nothing was left";
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(60)));
  EXPECT_TRUE(Says(prefill, "tandem_kv_transfer_bytes_sum", BytesOfOrders()));
  // The same prompt by an engine that says nothing of layers.
  TestDecode other({.backend = &far_});
  GatedGpu gpu("0000:02:00.0");
  TestPrefill::Options options = Halfway();
  options.backend = &gpu;
  options.engine = [this](std::unique_ptr<Engine> engine) {
    return std::make_unique<GatedEngine>(std::move(engine), gate_);
  };
  TestPrefill at_once(options);
  const Asker again(at_once, other, "recall");
  EXPECT_TRUE(Await([&] { return !gpu.orders().empty(); }));
  EXPECT_EQ(gpu.orders(), std::vector<int64_t>{BytesOfOrders()});
}

TEST_F(LayersTest, OfASmallStepNobodyAsks) {
  TestDecode decode({.backend = &far_});
  TestPrefill::Options options = Halfway();
  options.chunk_tokens = 64;
  TestPrefill prefill(options);
  { const Asker asker(prefill, decode, "story_chat"); }
  EXPECT_EQ(near_.orders().size(), 1U);
  { const Asker asker(prefill, decode, "recall"); }
  EXPECT_EQ(near_.orders().size(), 1U + 2) << "a page ahead, and the rest";
}

TEST_F(LayersTest, OfTwoPromptsThatEndInOneStep) {
  TestDecode decode({.backend = &far_});
  TestPrefill prefill(Halfway());
  std::vector<std::unique_ptr<Asker>> askers;
  const absl::Cleanup open = [this] { gate_.Open(); };
  gate_.Shut();
  askers.push_back(std::make_unique<Asker>(prefill, decode, "who"));
  ASSERT_TRUE(gate_.AwaitStep());
  for (const char* const golden : {"turns", "recall"}) {
    askers.push_back(std::make_unique<Asker>(prefill, decode, golden));
  }
  // Both have their staging memory, one page and two, and so are scheduled.
  ASSERT_TRUE(Await([&] { return Says(prefill, "tandem_kv_cache_usage_ratio", 1); }));
  gate_.LetOne();
  ASSERT_TRUE(gate_.AwaitStep());
  EXPECT_TRUE(AwaitOrders(1 + 2 * (kLayers / 2)));
  gate_.Open();
  askers.clear();
  EXPECT_EQ(near_.orders().size(), 1 + 2 * kLayers);
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(60)));
}

class EarlyEndOfLayersTest : public LayersTest {
 protected:
  // A prompt of two pages in a step that stands, half of its layers ordered.
  void Stand(TestPrefill& prefill, TestDecode& decode) {
    const Golden golden = TinyGolden("recall");
    const auto reservation = Reserve(decode, static_cast<int>(golden.prompt.size()));
    ASSERT_TRUE(reservation.ok());
    reservation_ = *reservation;
    gate_.Shut();
    prompt_.emplace(prefill, golden, reservation_);
    ASSERT_TRUE(gate_.AwaitStep());
  }

  v1::Reservation reservation_;
  std::optional<SentPrompt> prompt_;
};

TEST_F(EarlyEndOfLayersTest, ACancelledPromptSendsNoMoreAndKeepsItsMemoryUntilCopiesEnd) {
  TestDecode decode({.backend = &far_});
  TestPrefill prefill(Halfway());
  const absl::Cleanup open = [this] {
    near_.Open();
    gate_.Open();
  };
  near_.Shut();
  Stand(prefill, decode);
  ASSERT_TRUE(near_.AwaitOrder());
  prompt_->Cancel();
  EXPECT_EQ(prompt_->End().code(), absl::StatusCode::kCancelled);
  ASSERT_TRUE(Release(decode, reservation_).ok());
  EXPECT_TRUE(LoopAnswers(prefill));
  gate_.Open();
  EXPECT_TRUE(LoopAnswers(prefill));
  EXPECT_FALSE(decode.AllFreeWithin(absl::Milliseconds(100))) << "a layer's rows may still come";
  near_.Open();
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(60)));
  EXPECT_EQ(near_.orders().size(), 1U) << "what had not begun was given up";
  { const Asker asker(prefill, decode, "recall"); }
  EXPECT_EQ(near_.orders().size(), 1 + kLayers);
}

TEST_F(EarlyEndOfLayersTest, ADecodeWorkerThatGoesGetsNoMore) {
  auto decode = std::make_unique<TestDecode>(TestDecode::Options{.backend = &far_});
  TestDecode other({.backend = &far_});
  TestPrefill prefill(Halfway());
  const absl::Cleanup open = [this] { gate_.Open(); };
  Stand(prefill, *decode);
  ASSERT_TRUE(AwaitOrders(kLayers / 2));
  decode.reset();
  EXPECT_TRUE(LoopAnswers(prefill));
  gate_.Open();
  EXPECT_EQ(ReasonOf(prompt_->End()), "WORKER_LOST");
  EXPECT_EQ(near_.orders().size(), kLayers / 2);
  { const Asker asker(prefill, other, "recall"); }
  EXPECT_TRUE(other.AllFreeWithin(absl::Seconds(60)));
}

}  // namespace
}  // namespace tandem
