// SPDX-License-Identifier: Apache-2.0
// Goal: on a GPU one copy of tiny-v4's weights serves two processes, to the byte; a holder that is
// killed is noticed, and until its follower ends the memory stays. Method: the holder is this
// program again; what the follower sees is compared with weights loaded here.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "kernels/select.h"
#include "services/runtime/loader/loaded_model.h"
#include "services/runtime/loader/shared/holder_watch.h"

namespace tandem {
namespace {

LoadOptions TinyModel(const kernels::Gpu& gpu, WeightHome home) {
  return {.folder = TANDEM_SOURCE_DIR "/deploy/models/tiny-v4",
          .kernels = {*gpu.table, *gpu.backend},
          .home = home,
          .model_name = "weight_copy_cuda_test"};
}

// Holds weights until it is killed, or its parent ends.
int Holder() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const kernels::Gpu gpu = kernels::SelectGpu(0);
  const auto held = LoadedModel::Load(TinyModel(gpu, WeightHome::kHeld));
  if (!held.ok()) std::cerr << held.status() << std::endl;
  pause();
  return 0;
}

std::string BytesOf(kernels::Backend& gpu, const void* at, int64_t bytes) {
  std::string out(static_cast<size_t>(bytes), '\0');
  gpu.CopyNow({.to = out.data(), .from = at, .bytes = bytes});
  return out;
}

// All of every linear of the attention, the first expert of each layer, and the embedding.
std::vector<std::string> ContentOf(kernels::Backend& gpu, const Weights& weights) {
  std::vector<std::string> out = {
      BytesOf(gpu, weights.embed.data,
              weights.embed.size() * static_cast<int64_t>(sizeof *weights.embed.data))};
  for (const LayerWeights& layer : weights.layers) {
    for (const kernels::LinearWeight* linear :
         {&layer.attn.wq_a, &layer.attn.wq_b, &layer.attn.wkv, &layer.attn.wo_a, &layer.attn.wo_b,
          &layer.ffn.experts[0].w1}) {
      out.push_back(BytesOf(gpu, linear->prepared, kernels::cuda::PreparedBytes(*linear)));
    }
  }
  return out;
}

TEST(WeightCopyCudaTest, OneCopyServesTwoProcesses) {
  const pid_t holder = fork();  // before CUDA is asked for anything
  if (holder == 0) {
    execl("/proc/self/exe", "weights_cuda_test", "--holder", nullptr);
    _exit(1);
  }
  const kernels::Gpu gpu = kernels::SelectGpu(0);
  ASSERT_NE(gpu.backend, nullptr) << gpu.why;
  const absl::Time begin = absl::Now();
  std::vector<std::unique_ptr<LoadedModel>> parts;
  auto followed = LoadedModel::Load(TinyModel(gpu, WeightHome::kFollowed));
  ASSERT_TRUE(followed.ok()) << followed.status();
  parts.push_back(*std::move(followed));
  std::cout << parts[0]->bytes() << " bytes followed after "
            << absl::ToDoubleMilliseconds(absl::Now() - begin) << " ms" << std::endl;
  const auto own = LoadedModel::Load(TinyModel(gpu, WeightHome::kOwn));
  ASSERT_TRUE(own.ok()) << own.status();
  const auto expected = ContentOf(*gpu.backend, (*own)->weights());
  EXPECT_TRUE(ContentOf(*gpu.backend, parts[0]->weights()) == expected);
  absl::Notification gone;
  const HolderWatch watch(parts, [&gone] { gone.Notify(); });
  const absl::Time killed = absl::Now();
  kill(holder, SIGKILL);
  ASSERT_TRUE(gone.WaitForNotificationWithTimeout(absl::Seconds(10)));
  std::cout << "a killed holder is noticed after "
            << absl::ToDoubleMilliseconds(absl::Now() - killed) << " ms" << std::endl;
  waitpid(holder, nullptr, 0);
  // What runs may end.
  EXPECT_TRUE(ContentOf(*gpu.backend, parts[0]->weights()) == expected);
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--holder") return tandem::Holder();
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
