// SPDX-License-Identifier: Apache-2.0
#include "tests/services/runtime/transfer/nccl/decode_side.h"

#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <deque>
#include <iostream>
#include <memory>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "kernels/common/cuda/cuda_backend.h"
#include "kernels/common/probe/gpu_list.h"
#include "services/runtime/base/check.h"
#include "services/runtime/transfer/nccl/nccl_end.h"
#include "tests/services/runtime/transfer/nccl/prompt_rows.h"
#include "tests/services/runtime/transfer/nccl/wait_limit.h"

extern char** environ;

namespace tandem {
namespace {

// Commands, one a line: see Main.
class Worker {
 public:
  explicit Worker(int ranks) {
    const int gpus = static_cast<int>(kernels::ListGpus().gpus.size());
    for (int r = 0; r < ranks; ++r) {
      gpus_.push_back(kernels::MakeCudaBackend(std::max(0, gpus - ranks + r), "decode"));
      backends_.push_back(gpus_.back().get());
    }
    pool_ = *KvStorage::CreateShared(DecodeLayout(), backends_);
  }

  void Offer() const {
    std::cout << pool_->shared()->name();
    for (const std::string& handle : pool_->gpu_memory())
      std::cout << " " << absl::BytesToHexString(handle);
    std::cout << std::endl;
  }

  void Join(const std::string& id, int senders) {
    std::string why;
    port_ = NcclPort::Find(backends_, &why);
    CHECK(port_ != nullptr);
    absl::Notification joined;
    absl::Status result;
    end_ = std::make_unique<NcclEnd>(NcclEnd::Options{
        .port = port_.get(),
        .senders = senders,
        .receivers = static_cast<int>(backends_.size()),
        .id = absl::HexStringToBytes(id),
        .pattern = std::string(backends_.size() * KvStorage::kTestCellBytes, '!'),
        .limit = DecodeSide::kLimit,
        .joined =
            [&](const absl::Status& status) {
              result = status;
              joined.Notify();
            },
        .lost = [](const absl::Status& status) { std::cerr << "decode: " << status << "\n"; }});
    joined.WaitForNotification();
    std::cout << result << std::endl;
  }

  void Receive(bool scattered, const KvPart& part) {
    auto& done = under_way_.emplace_back(std::make_unique<absl::Notification>());
    end_->Do({.storage = pool_.get(),
              .extents = pool_->layout().Extents(Granted(scattered).at(), part),
              .done = [here = done.get()](const absl::Status& status) {
                if (!status.ok()) std::cerr << "decode: " << status << "\n";
                here->Notify();
              }});
  }
  void Await() {
    for (const auto& done : under_way_) done->WaitForNotification();
    under_way_.clear();
    std::cout << "here" << std::endl;
  }

  // Of every copy; then all of it is wiped, so that nothing is right by chance.
  void Compare(bool scattered) const {
    const std::string rows = MakeRows();
    const auto from = StagingLayout().Extents(Staged().at(), kTokens);
    const auto to = pool_->layout().Extents(Granted(scattered).at(), kTokens);
    int wrong = 0;
    for (size_t r = 0; r < backends_.size(); ++r) {
      for (size_t i = 0; i < to.size(); ++i) {
        std::string arrived(to[i].bytes, '\0');
        backends_[r]->CopyNow({.to = arrived.data(),
                               .from = pool_->view().copies[r] + to[i].offset,
                               .bytes = static_cast<int64_t>(to[i].bytes)});
        wrong += arrived != rows.substr(from[i].offset, from[i].bytes);
      }
    }
    pool_->Write(0, std::string(pool_->layout().bytes(), '\0'));
    std::cout << wrong << " of " << to.size() * backends_.size() << " extents are wrong"
              << std::endl;
  }

 private:
  std::vector<std::unique_ptr<kernels::Backend>> gpus_;
  std::vector<kernels::Backend*> backends_;
  std::unique_ptr<KvStorage> pool_;
  std::unique_ptr<NcclPort> port_;
  std::unique_ptr<NcclEnd> end_;
  std::deque<std::unique_ptr<absl::Notification>> under_way_;
};

}  // namespace

int DecodeSide::Main(int ranks) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // whatever hangs here, it ends with the test
  Worker worker(ranks);
  worker.Offer();
  for (std::string line; std::getline(std::cin, line);) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    const bool scattered = words.size() > 1 && words[1] == "scattered";
    if (words[0] == "join") worker.Join(words[1], std::stoi(words[2]));
    if (words[0] == "ahead") worker.Receive(scattered, Ahead());
    if (words[0] == "rest") worker.Receive(scattered, Rest());
    if (words[0] == "await") worker.Await();
    if (words[0] == "compare") worker.Compare(scattered);
  }
  return 0;
}

DecodeSide::DecodeSide(int ranks) {
  int in[2], out[2];
  CHECK(pipe(in) == 0 && pipe(out) == 0);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, in[0], 0);
  posix_spawn_file_actions_adddup2(&files, out[1], 1);
  for (const int fd : {in[0], in[1], out[0], out[1]}) posix_spawn_file_actions_addclose(&files, fd);
  std::string self = "/proc/self/exe", flag = kFlag, count = absl::StrCat(ranks);
  char* const args[] = {self.data(), flag.data(), count.data(), nullptr};
  CHECK_EQ(posix_spawn(&pid_, self.c_str(), &files, nullptr, args, environ), 0);
  posix_spawn_file_actions_destroy(&files);
  close(in[0]);
  close(out[1]);
  to_ = in[1];
  from_ = out[0];
}

DecodeSide::~DecodeSide() {
  close(to_);
  close(from_);
  kill(pid_, SIGKILL);
  const WaitLimit limit("the decode side to be gone");
  waitpid(pid_, nullptr, 0);
}

void DecodeSide::Tell(const std::string& line) const {
  const std::string text = line + "\n";
  CHECK_EQ(write(to_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

std::string DecodeSide::Hear() const {
  const WaitLimit limit("the decode side's answer");
  std::string line;
  for (char letter = 0; read(from_, &letter, 1) == 1 && letter != '\n';) line += letter;
  return line;
}

}  // namespace tandem
