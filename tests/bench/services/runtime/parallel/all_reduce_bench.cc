// SPDX-License-Identifier: Apache-2.0
// Goal: all_reduce of two ranks, by either kind, against what the link does. Method: the first two
// // devices, a thread each; every case captured some times in
// a row in a graph, the slower rank's median (rank_queue.h). The link: one way of a word, and a
// plain copy of 256 MB both ways at once; attainable is the one plus a part's bytes at the other's
// rate.
//
//   all_reduce_bench
#include <cuda_runtime.h>

#include <iomanip>
#include <iostream>
#include <memory>
#include <random>

#include "absl/strings/str_cat.h"
#include "kernels/common/contract.h"
#include "kernels/common/cuda/device_stream.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/parallel/device/comm_group.h"
#include "services/runtime/parallel/device/peer_communicator.h"
#include "services/runtime/parallel/device/rank_queue.h"
#include "tests/bench/kernels/cuda/bench.h"
#include "tests/bench/services/runtime/parallel/ping_pong.h"

namespace tandem {
namespace {

using kernels::Bf16;
using kernels::E4M3;
using kernels::HcPostArgs;
using kernels::HcPreNormQuantArgs;
using kernels::kCudaKernels;
using kernels::Stream;
using kernels::Ue8m0;

constexpr int64_t kMostTokens = 4096, kMostDim = 7168, kM = 4, kMixes = 24;
constexpr int64_t kLinkBytes = int64_t{256} << 20;
// Taken at once: an allocation may wait for what waits for the other rank.
constexpr int64_t kScratchBytes = int64_t{256} << 20;
constexpr uint32_t kPingPongs = 2000;
constexpr absl::Duration kLimit = absl::Seconds(10);
constexpr int64_t kCycles = int64_t{4'000'000'000};

void Check(cudaError_t error) {
  KERNEL_CHECK_EQ(error, cudaSuccess);
}

template <typename T>
T* Random(int64_t n) {
  return reinterpret_cast<T*>(kernels::RandomBytes(n * static_cast<int64_t>(sizeof(T)), 7));
}

template <typename T>
T* Zeros(int64_t n) {
  void* data = nullptr;
  Check(cudaMalloc(&data, static_cast<size_t>(n) * sizeof(T)));
  Check(cudaMemset(data, 0, static_cast<size_t>(n) * sizeof(T)));
  return static_cast<T*>(data);
}

// A rank's device, queue and memory. post and comb are zero, so that streams stay finite over any
// number of runs; the logits are then base's, far apart: Sinkhorn's dearest case.
struct Rank {
  explicit Rank(int device) : device(device) {
    Check(cudaSetDevice(device));
    Check(cudaStreamCreateWithFlags(&queue, cudaStreamNonBlocking));
    stream = kernels::MakeDeviceStream(queue);
    const int64_t values = kMostTokens * kMostDim;
    x = Random<Bf16>(values);
    y = Zeros<Bf16>(values);
    out = Zeros<Bf16>(values);
    q = Zeros<E4M3>(values);
    q_scale = Zeros<Ue8m0>(values / 128);
    streams = Zeros<Bf16>(values * kM);
    norm = Random<Bf16>(kMostDim);
    fn = Random<float>(kMixes * kM * kMostDim);
    scale = Random<float>(4);
    post = Zeros<float>(kMostTokens * kM);
    comb = Zeros<float>(kMostTokens * kM * kM);
    next_post = Zeros<float>(kMostTokens * kM);
    next_comb = Zeros<float>(kMostTokens * kM * kM);
    base = Zeros<float>(kMixes);
    std::mt19937 engine(3);
    std::normal_distribution<float> normal(0, 4);
    std::vector<float> logits(kMixes);
    for (float& v : logits) v = normal(engine);
    Check(cudaMemcpy(base, logits.data(), 4 * kMixes, cudaMemcpyHostToDevice));
    link = Zeros<uint8_t>(2 * kLinkBytes);
    word = Zeros<uint32_t>(2);
    (void)kernels::Scratch(stream).Take<uint8_t>(kScratchBytes);
    Check(cudaDeviceSynchronize());
  }
  HcPostArgs Post(int64_t t, int64_t d) const {
    return {.y = {y, {t, d}},
            .post = {post, {t, kM}},
            .comb = {comb, {t, kM, kM}},
            .streams = {streams, {t, kM, d}}};
  }
  HcPreNormQuantArgs Next(int64_t t, int64_t d) const {
    return {.streams = {streams, {t, kM, d}},
            .fn = {fn, {kMixes, kM * d}},
            .base = {base, {kMixes}},
            .scale = {scale, {3}},
            .norm = {norm, {d}},
            .norm_eps = 1e-6f,
            .hc_eps = 1e-6f,
            .iterations = 20,
            .x = {out, {t, d}},
            .q = {q, {t, d}},
            .q_scale = {q_scale, {t, d / 128}},
            .post = {next_post, {t, kM}},
            .comb = {next_comb, {t, kM, kM}}};
  }

  int device;
  cudaStream_t queue = nullptr;
  Stream stream;
  Bf16 *x, *y, *out, *streams, *norm;
  E4M3* q;
  Ue8m0* q_scale;
  float *fn, *base, *scale, *post, *comb, *next_post, *next_comb;
  uint8_t* link;   // two halves: what is sent, what is received
  uint32_t* word;  // what the other writes, and how often
};

class Ranks {
 public:
  explicit Ranks(const std::vector<int>& devices) {
    for (const int device : devices) all_.push_back(std::make_unique<Rank>(device));
  }
  Rank& operator[](size_t r) { return *all_[r]; }

  // Seconds of `run` on rank r's stream, the slower rank's; `runs` in a row.
  template <typename Run>
  double Seconds(int runs, const std::vector<Communicator*>& watch, const Run& run) {
    std::vector<absl::StatusOr<double>> seconds(all_.size());
    {
      std::vector<std::unique_ptr<Thread>> threads;
      for (size_t r = 0; r < all_.size(); ++r) {
        threads.push_back(std::make_unique<Thread>(absl::StrCat("rank-", r), [&, r] {
          Check(cudaSetDevice(all_[r]->device));
          const RankTimer timer = {
              .wait = [&](Stream& stream) { return watch[r]->Wait(stream, kLimit); },
              .runs = runs,
              .replays = 9};
          seconds[r] = SecondsOfRun(
              timer, [&](Stream& stream) { run(r, *all_[r], stream); }, all_[r]->stream);
        }));
      }
    }
    double slower = 0;
    for (const auto& s : seconds) {
      if (!s.ok()) std::cerr << s.status() << "\n";
      KERNEL_CHECK(s.ok());
      slower = std::max(slower, *s);
    }
    return slower;
  }

 private:
  std::vector<std::unique_ptr<Rank>> all_;
};

struct Link {
  double seconds = 0;           // one way of a word
  double bytes_per_second = 0;  // one way, while as much goes the other
};

Link MeasureLink(Ranks& ranks, const std::vector<Communicator*>& watch) {
  Link link;
  link.seconds = ranks.Seconds(1, watch, [&](size_t r, Rank& rank, Stream&) {
    kernels::QueuePingPong({.own = rank.word,
                            .peer = ranks[1 - r].word,
                            .played = rank.word + 1,
                            .first = r == 0,
                            .rounds = kPingPongs},
                           rank.queue);
  }) / (2.0 * kPingPongs);
  link.bytes_per_second = kLinkBytes / ranks.Seconds(4, watch, [&](size_t r, Rank& rank, Stream&) {
    Check(cudaMemcpyAsync(rank.link + kLinkBytes, ranks[1 - r].link, kLinkBytes, cudaMemcpyDefault,
                          rank.queue));
  });
  return link;
}

struct Kinds {
  std::vector<Communicator*> peer, nccl;  // by rank; nccl empty where there is none
};

void Print(double seconds) {
  std::cout << " " << 1e6 * seconds << " |";
}

void Row(Ranks& ranks, const Kinds& kinds, const Link& link, int64_t tokens, int64_t dim) {
  const int64_t bytes = 2 * tokens * dim;
  const int runs = tokens >= 1024 ? 5 : 40;
  const auto sum = [&](const std::vector<Communicator*>& kind) {
    return ranks.Seconds(runs, kind, [&](size_t r, Rank& rank, Stream& stream) {
      kind[r]->AllReduce({.x = {rank.x, {tokens, dim}}, .y = {rank.y, {tokens, dim}}}, stream);
    });
  };
  const auto with_next = [&](const std::vector<Communicator*>& kind) {
    return ranks.Seconds(runs, kind, [&](size_t r, Rank& rank, Stream& stream) {
      HcPostArgs post = rank.Post(tokens, dim);
      post.y = {};
      kind[r]->AllReduce(
          {.x = {rank.x, {tokens, dim}}, .post = post, .next = rank.Next(tokens, dim)}, stream);
    });
  };
  // First what needs no peer: a kernel is loaded at its first launch, which waits for the device.
  const double alone = ranks.Seconds(runs, kinds.peer, [&](size_t, Rank& rank, Stream& stream) {
    kCudaKernels.hc_post_pre({.post = rank.Post(tokens, dim), .next = rank.Next(tokens, dim)},
                             stream);
  });
  const double apart = ranks.Seconds(runs, kinds.peer, [&](size_t r, Rank& rank, Stream& stream) {
    kinds.peer[r]->AllReduce({.x = {rank.x, {tokens, dim}}, .y = {rank.y, {tokens, dim}}}, stream);
    kCudaKernels.hc_post_pre({.post = rank.Post(tokens, dim), .next = rank.Next(tokens, dim)},
                             stream);
  });
  const double copy = ranks.Seconds(runs, kinds.peer, [&](size_t r, Rank& rank, Stream&) {
    Check(cudaMemcpyAsync(rank.y, ranks[1 - r].x, static_cast<size_t>(bytes), cudaMemcpyDefault,
                          rank.queue));
  });
  const double attainable = link.seconds + static_cast<double>(bytes) / link.bytes_per_second;
  const double peer = sum(kinds.peer);
  std::cout << "| " << dim << " | " << tokens << " | " << bytes << " |";
  Print(attainable);
  Print(copy);
  Print(peer);
  std::cout << " " << 100 * attainable / peer << " % |";
  if (kinds.nccl.empty()) std::cout << " |";
  if (!kinds.nccl.empty()) Print(sum(kinds.nccl));
  Print(with_next(kinds.peer));
  Print(apart);
  if (kinds.nccl.empty()) std::cout << " |";
  if (!kinds.nccl.empty()) Print(with_next(kinds.nccl));
  Print(alone);
  std::cout << "\n" << std::flush;
}

int Run() {
  int devices = 0;
  Check(cudaGetDeviceCount(&devices));
  if (devices < 2) {
    std::cerr << "all_reduce_bench: two GPUs are needed, " << devices << " found\n";
    return 2;
  }
  const std::vector<int> of_rank = {0, 1};
  const auto peers = kernels::PeerGroup::Create(of_rank, kCycles);
  KERNEL_CHECK(peers != nullptr);
  Ranks ranks(of_rank);
  PeerCommunicator first(kCudaKernels, *peers, 0), second(kCudaKernels, *peers, 1);
  Kinds kinds = {.peer = {&first, &second}};
  std::unique_ptr<NcclGroup> nccl;
  auto made = NcclGroup::Create(kCudaKernels, of_rank);
  if (!made.ok()) std::cerr << made.status() << "\n";
  if (made.ok()) nccl = *std::move(made);
  if (nccl != nullptr) kinds.nccl = {&nccl->rank(0), &nccl->rank(1)};
  std::cout << std::fixed << std::setprecision(1);
  const Link link = MeasureLink(ranks, kinds.peer);
  std::cout << "Devices " << of_rank[0] << " and " << of_rank[1] << ". Link: " << 1e6 * link.seconds
            << " µs one way, " << 1e-9 * link.bytes_per_second << " GB/s each way.\n\n"
            << "| D | tokens | bytes of a part | attainable | plain copy | ours | of attainable "
               "| NCCL | ours with the next norm | the same as two calls | NCCL with it | "
               "hc_post_pre alone |\n"
            << "|---|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const int64_t dim : {4096, 7168}) {
    for (const int64_t tokens : {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096}) {
      Row(ranks, kinds, link, tokens, dim);
    }
  }
  for (int r = 0; r < 2; ++r) KERNEL_CHECK_EQ(peers->Error(r), 0u);
  auto group = CommGroup::Create(
      kCudaKernels, {.devices = of_rank, .dim = 4096, .most_tokens = kMostTokens, .limit = kLimit});
  if (!group.ok()) std::cerr << group.status() << "\n";
  return group.ok() ? 0 : 1;
}

}  // namespace
}  // namespace tandem

int main() {
  return tandem::Run();
}
