// SPDX-License-Identifier: Apache-2.0
// Cluster: the three processes as users run them, from TANDEM_BINARY_DIR, on loopback ports that
// stay theirs while they are down, with configs and logs in a folder of their own under /tmp. The
// destructor ends what still runs. Not thread-safe but for the accessors.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/runtime/rpc/channel.h"
#include "tandem/v1/inference.grpc.pb.h"
#include "tandem/v1/worker.grpc.pb.h"

namespace tandem {

// Where the workers compute: CPU, or CUDA in what is built to run beside a GPU.
#ifndef TANDEM_CLUSTER_DEVICE
#define TANDEM_CLUSTER_DEVICE "CPU"
#endif
inline constexpr bool kClusterOnGpu = std::string_view(TANDEM_CLUSTER_DEVICE) == "CUDA";

// Small enough for any /dev/shm.
inline constexpr uint32_t kDecodePages = 96;
// Beats come five times in it, and one that fails is repeated within 2 s: a machine with all its
// cores taken drops nobody.
inline constexpr absl::Duration kWorkerTtl = absl::Seconds(5);

struct ClusterOptions {
  std::string model_dir = TANDEM_SOURCE_DIR "/deploy/models/tiny-v4";
  // For simulated engines: config.json is cut to one layer of ratio 4, so that a slot takes 160 kB
  // and a page 42 kB, and thousands fit.
  bool one_layer = false;
  uint32_t decode_pages = kDecodePages;  // of each decode worker
  int prefills = 1;
  int decodes = 1;
  // The router lists no worker: they register with it, and are dropped after kWorkerTtl of silence.
  bool registered = false;
  // tensor_parallel of each kind, and the GPUs that ranks take in turn.
  int prefill_ranks = 1;
  int decode_ranks = 1;
  std::vector<int> prefill_gpus = {0};
  std::vector<int> decode_gpus = {0};
  // WEIGHTS_SHARED, by a model_name that no other cluster of this machine has.
  bool one_copy = false;
  // Lines of text proto that are added to the config of each process.
  std::string router_extra;
  std::string prefill_extra;
  std::string decode_extra;
  // Of the part that both kinds of workers have in common.
  std::string worker_extra;
};

class Cluster {
 public:
  explicit Cluster(const ClusterOptions& options);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // router, prefill-0, decode-0 …
  std::vector<std::string> names() const;

  // Starts a process again on its port, after Kill or Terminate. Start does not wait for readiness.
  void Start(const std::string& name);
  void Kill(const std::string& name);  // SIGKILL, reaped
  // Until it ends by itself; returns the exit code, or -1 if it did not end in time.
  int AwaitEnd(const std::string& name, absl::Duration limit);
  int Terminate(const std::string& name, absl::Duration limit);  // the same after SIGTERM
  void Signal(const std::string& name, int signal) const;

  // Waits until a short request is answered. The error is the last answer's.
  absl::Status WaitReady(absl::Duration limit) const;

  std::unique_ptr<v1::InferenceService::Stub> NewClient() const;
  pid_t pid(const std::string& name) const { return processes_.at(name).pid; }
  std::string endpoint(const std::string& name) const;
  std::string metrics_endpoint(const std::string& name) const;
  std::string log(const std::string& name) const;
  const std::string& folder() const { return folder_; }

  // The newest state of a worker, once all its memory is free; an error after `limit`.
  absl::Status WaitAllFree(const std::string& decode, absl::Duration limit) const;

 private:
  struct Process {
    std::string binary;
    std::string config;
    std::string log;
    int port = 0;
    int metrics_port = 0;
    pid_t pid = 0;  // 0 = not running
  };
  void Write(const std::string& name, const std::string& config);
  // The folder of a copy of the model with one layer.
  std::string OneLayer(const std::string& model_dir) const;

  std::string folder_;
  const uint32_t decode_pages_;
  std::map<std::string, Process> processes_;
};

}  // namespace tandem
