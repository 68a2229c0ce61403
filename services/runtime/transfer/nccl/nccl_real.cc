// SPDX-License-Identifier: Apache-2.0
// Nccl by the library of that name.
#include <cuda_runtime_api.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"
#include "services/runtime/parallel/device/nccl_library.h"
#include "services/runtime/transfer/nccl/nccl.h"

namespace tandem {
namespace {

static_assert(Nccl::kIdBytes == NCCL_UNIQUE_ID_BYTES);

class Real final : public Nccl {
 public:
  explicit Real(const NcclLibrary& calls) : calls_(calls) {}

  absl::StatusOr<std::string> NewId() override {
    ncclUniqueId id;
    const absl::Status made = Begun(calls_.unique_id(&id), "new id");
    if (!made.ok()) return made;
    return std::string(id.internal, sizeof id.internal);
  }

  void GroupStart() override { (void)calls_.group_start(); }
  absl::Status GroupEnd() override { return Begun(calls_.group_end(), "group"); }

  absl::Status Join(const JoinArgs& args, Comm* comm) override {
    int device = 0;
    if (cudaStreamGetDevice(static_cast<cudaStream_t>(args.queue), &device) != cudaSuccess ||
        cudaSetDevice(device) != cudaSuccess) {
      return absl::UnavailableError("nccl: the queue's GPU is not to be had");
    }
    CHECK_EQ(args.id.size(), sizeof(ncclUniqueId));
    ncclUniqueId id;
    std::memcpy(&id, args.id.data(), sizeof id);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    return Begun(
        calls_.init_rank(reinterpret_cast<ncclComm_t*>(comm), args.ranks, id, args.rank, &config),
        "join");
  }

  absl::Status Send(Comm comm, const Message& message) override {
    return Begun(
        calls_.send(message.memory, static_cast<size_t>(message.bytes), ncclUint8, message.peer,
                    static_cast<ncclComm_t>(comm), static_cast<cudaStream_t>(message.queue)),
        "send");
  }
  absl::Status Receive(Comm comm, const Message& message) override {
    return Begun(
        calls_.receive(message.memory, static_cast<size_t>(message.bytes), ncclUint8, message.peer,
                       static_cast<ncclComm_t>(comm), static_cast<cudaStream_t>(message.queue)),
        "receive");
  }

  absl::StatusOr<bool> Poll(Comm comm) override {
    ncclResult_t state = ncclSuccess;
    const absl::Status asked =
        Begun(calls_.async_error(static_cast<ncclComm_t>(comm), &state), "state");
    if (!asked.ok()) return asked;
    if (state == ncclInProgress) return false;
    const absl::Status result = Begun(state, "communicator");
    if (!result.ok()) return result;
    return true;
  }

  void Abort(Comm comm) override { (void)calls_.abort(static_cast<ncclComm_t>(comm)); }

 private:
  absl::Status Begun(ncclResult_t result, const char* what) const {
    if (result == ncclSuccess || result == ncclInProgress) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("nccl: ", what, ": ", calls_.error_string(result)));
  }

  const NcclLibrary& calls_;
};

}  // namespace

Nccl* Nccl::Find(std::string* why) {
  const NcclLibrary* const calls = NcclLibrary::Find();
  if (calls == nullptr) {
    *why = "there is no libnccl.so.2, or an old one";
    return nullptr;
  }
  static Real& real = *new Real(*calls);
  return &real;
}

}  // namespace tandem
