// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/parallel/device/nccl_group.h"

#include <cuda_runtime_api.h>

#include <atomic>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/parallel/device/nccl_library.h"
#include "services/runtime/parallel/device/rank_queue.h"
#include "services/runtime/parallel/limited_call.h"
#include "services/runtime/parallel/reduced.h"

namespace tandem {
namespace {

// How long an abort lets a rank finish a call that it is in, before it pulls it out of there.
constexpr absl::Duration kGrace = absl::Seconds(1);
// Of the call that makes all communicators, which may look for networks first.
constexpr absl::Duration kMakingLimit = absl::Seconds(60);
// Of an abort, its grace included.
constexpr absl::Duration kAbortLimit = absl::Seconds(10);

// Whoever asks has a group, and so a library.
const NcclLibrary& Nccl() {
  return *NcclLibrary::Find();
}

std::string ErrorOf(const char* what, ncclResult_t result) {
  return absl::StrCat("nccl: ", what, ": ", Nccl().error_string(result));
}

// All ranks' handles.
class Handles {
 public:
  explicit Handles(std::vector<ncclComm_t> comms) : comms_(std::move(comms)) {}
  ~Handles() { End(Nccl().destroy); }
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;

  // Runs `call` on a rank's handle, unless they have been aborted.
  template <typename Call>
  ncclResult_t With(int rank, const Call& call) {
    ++inside_;
    const ncclResult_t result = aborted_ ? ncclRemoteError : call(comms_[rank]);
    --inside_;
    return result;
  }

  void Abort() {
    const absl::MutexLock lock(&mutex_);
    if (aborted_.exchange(true)) return;
    // Nobody enters any more; who is in there comes out, or is what the abort is for.
    const absl::Time deadline = absl::Now() + kGrace;
    while (inside_ > 0 && absl::Now() < deadline) absl::SleepFor(absl::Microseconds(50));
    End(Nccl().abort);
  }

 private:
  // Both endings are calls of all ranks together.
  void End(ncclResult_t (*call)(ncclComm_t)) {
    if (comms_.empty()) return;
    (void)Nccl().group_start();
    for (ncclComm_t comm : comms_) (void)call(comm);
    (void)Nccl().group_end();
    comms_.clear();
  }

  std::vector<ncclComm_t> comms_;
  absl::Mutex mutex_;
  std::atomic<bool> aborted_ = false;
  std::atomic<int> inside_ = 0;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(const kernels::KernelTable& table, Handles& handles, int rank)
      : table_(table), handles_(handles), rank_(rank) {}

  void AllReduce(const kernels::AllReduceArgs& args, kernels::Stream& stream) override {
    kernels::CheckAllReduce(args);
    kernels::Scratch scratch(stream);
    kernels::TensorView<kernels::Bf16, 2> y = args.y;
    if (y.data == nullptr) {
      y = {scratch.Take<kernels::Bf16>(args.x.size()), {args.x.shape[0], args.x.shape[1]}};
    }
    const ncclResult_t result = handles_.With(rank_, [&](ncclComm_t comm) {
      return Nccl().all_reduce(args.x.data, y.data, static_cast<size_t>(args.x.size()),
                               ncclBfloat16, ncclSum, comm,
                               static_cast<cudaStream_t>(stream.queue()));
    });
    if (result != ncclSuccess) stream.RecordError(ErrorOf("all-reduce", result));
    PostReduced(table_, args, y, stream);
  }

  // Received whole, then each rank's columns to their place.
  void Gather(const kernels::GatherArgs& args, kernels::Stream& stream) override {
    kernels::CheckGather(args);
    const auto queue = static_cast<cudaStream_t>(stream.queue());
    const int64_t ranks = rank_ == 0 ? args.y.shape[1] / args.x.shape[1] : 0;
    const auto size = static_cast<size_t>(args.x.size());
    kernels::Scratch scratch(stream);
    float* const parts = scratch.Take<float>(ranks * args.x.size());
    const ncclResult_t result = handles_.With(rank_, [&](ncclComm_t comm) {
      (void)Nccl().group_start();
      (void)Nccl().send(args.x.data, size, ncclFloat, 0, comm, queue);
      for (int64_t r = 0; r < ranks; ++r) {
        (void)Nccl().receive(parts + r * args.x.size(), size, ncclFloat, static_cast<int>(r), comm,
                             queue);
      }
      return Nccl().group_end();  // the first error of them
    });
    if (result != ncclSuccess) stream.RecordError(ErrorOf("gather", result));
    const size_t width = static_cast<size_t>(args.x.shape[1]) * sizeof(float);
    for (int64_t r = 0; r < ranks; ++r) {
      const cudaError_t error =
          cudaMemcpy2DAsync(args.y.data + r * args.x.shape[1], width * static_cast<size_t>(ranks),
                            parts + r * args.x.size(), width, width,
                            static_cast<size_t>(args.x.shape[0]), cudaMemcpyDeviceToDevice, queue);
      if (error != cudaSuccess) stream.RecordError(cudaGetErrorString(error));
    }
  }

  absl::Status Wait(kernels::Stream& stream, absl::Duration limit) override {
    absl::Status status = WaitForQueue(stream, limit, [&] { return AsyncError(); });
    if (!status.ok()) Abort();
    return status;
  }

  // NCCL's call waits for the device, which may be what has failed. Then nothing else ends either.
  void Abort() override {
    const absl::Status status = RunWithin({.what = "nccl: abort",
                                           .limit = kAbortLimit,
                                           .run = [this] { handles_.Abort(); },
                                           .came_late = [] {}});
    if (!status.ok()) CheckFailed(__FILE__, __LINE__, status.ToString());
  }

 private:
  absl::Status AsyncError() {
    ncclResult_t error = ncclSuccess;
    const ncclResult_t asked =
        handles_.With(rank_, [&](ncclComm_t comm) { return Nccl().async_error(comm, &error); });
    if (asked != ncclSuccess) return absl::InternalError(ErrorOf("group", asked));
    if (error != ncclSuccess && error != ncclInProgress) {
      return absl::InternalError(ErrorOf("asynchronous", error));
    }
    return absl::OkStatus();
  }

  const kernels::KernelTable& table_;
  Handles& handles_;
  const int rank_;
};

// All ranks' at once. NCCL's call has no limit and nothing by which to end it.
absl::StatusOr<std::vector<ncclComm_t>> MakeComms(const std::vector<int>& devices) {
  struct Making {
    const std::vector<int> devices;
    std::vector<ncclComm_t> comms;
    ncclResult_t result = ncclInProgress;
  };
  auto making = std::make_unique<Making>(Making{devices, std::vector<ncclComm_t>(devices.size())});
  Making* const made = making.get();
  LogInfo("nccl_communicators", {{"devices", absl::StrJoin(devices, ",")},
                                 {"limit", absl::FormatDuration(kMakingLimit)}});
  const absl::Status came =
      RunWithin({.what = "nccl: communicators",
                 .limit = kMakingLimit,
                 .run =
                     [made] {
                       (void)cudaSetDevice(made->devices[0]);  // it comes back to the thread's
                       made->result =
                           Nccl().init_all(made->comms.data(), static_cast<int>(made->comms.size()),
                                           made->devices.data());
                     },
                 .came_late =
                     [made] {
                       const std::unique_ptr<Making> late(made);
                       if (late->result == ncclSuccess) Handles(std::move(late->comms)).Abort();
                     }});
  if (!came.ok()) {
    (void)making.release();  // the call's, which still runs
    return came;
  }
  if (making->result != ncclSuccess) {
    return absl::UnavailableError(ErrorOf("communicators", making->result));
  }
  return std::move(making->comms);
}

}  // namespace

struct NcclGroup::State {
  explicit State(std::vector<ncclComm_t> comms) : handles(std::move(comms)) {}
  Handles handles;
  std::vector<std::unique_ptr<NcclCommunicator>> ranks;
};

absl::StatusOr<std::unique_ptr<NcclGroup>> NcclGroup::Create(const kernels::KernelTable& table,
                                                             const std::vector<int>& devices) {
  if (NcclLibrary::Find() == nullptr) return absl::UnavailableError("nccl: no libnccl.so.2");
  ASSIGN_OR_RETURN(std::vector<ncclComm_t> comms, MakeComms(devices));
  auto state = std::make_unique<State>(std::move(comms));
  for (size_t r = 0; r < devices.size(); ++r) {
    state->ranks.push_back(
        std::make_unique<NcclCommunicator>(table, state->handles, static_cast<int>(r)));
  }
  return std::unique_ptr<NcclGroup>(new NcclGroup(std::move(state)));
}

NcclGroup::NcclGroup(std::unique_ptr<State> state) : state_(std::move(state)) {}

NcclGroup::~NcclGroup() = default;

Communicator& NcclGroup::rank(int rank) {
  return *state_->ranks[rank];
}

}  // namespace tandem
