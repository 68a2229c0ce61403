// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/cluster.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "services/runtime/base/check.h"
#include "services/runtime/rpc/status.h"
#include "tests/e2e/client.h"
#include "tests/e2e/ports/free_port.h"

namespace tandem {

namespace {

std::string Ranks(int count, const std::vector<int>& gpus) {
  std::string out = absl::StrCat("tensor_parallel: ", count, " ");
  for (int r = 0; kClusterOnGpu && r < count; ++r) {
    absl::StrAppend(&out, "gpus: ", gpus[static_cast<size_t>(r) % gpus.size()], " ");
  }
  return out;
}

}  // namespace

Cluster::Cluster(const ClusterOptions& options) : decode_pages_(options.decode_pages) {
  std::string folder = "/tmp/tandem-cluster-XXXXXX";
  CHECK(mkdtemp(folder.data()) != nullptr);
  folder_ = folder;
  const std::string model_dir = options.one_layer ? OneLayer(options.model_dir) : options.model_dir;
  std::string prefills;
  std::string decodes;
  const std::string registry = absl::StrCat("\"127.0.0.1:", FreePort(), "\"");
  const std::string registration =
      options.registered ? absl::StrCat("registration { routers: ", registry, " } ") : "";
  const std::string model_name =
      options.one_copy ? absl::StrCat("model_name: \"", folder, "\" ") : "";
  const std::string weights = options.one_copy ? "weights: WEIGHTS_SHARED " : "";
  const auto add_worker = [&](const std::string& role, int index, const std::string& extra) {
    const bool prefill = role == "prefill";
    const std::string name = absl::StrCat(role, "-", index);
    Process& process = processes_[name];
    process.binary = absl::StrCat("tandem-", role);
    process.port = FreePort();
    process.metrics_port = FreePort();
    Write(name, absl::StrCat("worker { listen: \"127.0.0.1:", process.port,
                             "\" metrics_listen: \"127.0.0.1:", process.metrics_port,
                             "\" model_dir: \"", model_dir, "\" drain_timeout { seconds: 10 } ",
                             "device: DEVICE_" TANDEM_CLUSTER_DEVICE " ",
                             prefill ? Ranks(options.prefill_ranks, options.prefill_gpus)
                                     : Ranks(options.decode_ranks, options.decode_gpus),
                             model_name, weights, registration, options.worker_extra, " }\n", extra,
                             "\n"));
    absl::StrAppend(prefill ? &prefills : &decodes, role, "_workers: \"127.0.0.1:", process.port,
                    "\"\n");
  };
  for (int i = 0; i < options.prefills; ++i) add_worker("prefill", i, options.prefill_extra);
  for (int i = 0; i < options.decodes; ++i) {
    add_worker("decode", i, absl::StrCat("pages: ", decode_pages_, "\n", options.decode_extra));
  }
  const std::string workers =
      options.registered
          ? absl::StrCat("registry { listen: ", registry,
                         " worker_ttl { seconds: ", absl::ToInt64Seconds(kWorkerTtl), " } }\n")
          : prefills + decodes;
  Process& router = processes_["router"];
  router.binary = "tandem-router";
  router.port = FreePort();
  router.metrics_port = FreePort();
  Write("router",
        absl::StrCat("listen: \"127.0.0.1:", router.port,
                     "\"\nmetrics_listen: \"127.0.0.1:", router.metrics_port, "\"\nmodel_dir: \"",
                     model_dir, "\"\n", model_name, workers, options.router_extra, "\n"));
  for (const std::string& name : names()) Start(name);
}

Cluster::~Cluster() {
  for (const std::string& name : names()) {
    if (processes_.at(name).pid != 0) Kill(name);
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string Cluster::OneLayer(const std::string& model_dir) const {
  const std::string copy = folder_ + "/model";
  std::filesystem::create_directory(copy);
  nlohmann::json config = nlohmann::json::parse(std::ifstream(model_dir + "/config.json"));
  config["num_hidden_layers"] = 1;
  config["compress_ratios"] = {4};
  std::ofstream(copy + "/config.json") << config;
  for (const char* file : {"generation_config.json", "tokenizer.json", "tokenizer_config.json"}) {
    std::filesystem::create_symlink(model_dir + "/" + file, copy + "/" + file);
  }
  return copy;
}

void Cluster::Write(const std::string& name, const std::string& config) {
  Process& process = processes_.at(name);
  process.config = absl::StrCat(folder_, "/", name, ".textproto");
  process.log = absl::StrCat(folder_, "/", name, ".log");
  std::ofstream(process.config) << config;
}

std::vector<std::string> Cluster::names() const {
  std::vector<std::string> out;
  for (const auto& [name, process] : processes_) out.push_back(name);
  return out;
}

void Cluster::Start(const std::string& name) {
  Process& process = processes_.at(name);
  CHECK_EQ(process.pid, 0);
  const std::string binary = absl::StrCat(TANDEM_BINARY_DIR, "/", process.binary);
  const pid_t pid = fork();
  CHECK_GE(pid, 0);
  if (pid == 0) {
    const int log = open(process.log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(log, STDERR_FILENO);
    dup2(log, STDOUT_FILENO);
    execl(binary.c_str(), process.binary.c_str(), "--config", process.config.c_str(), nullptr);
    _exit(127);
  }
  process.pid = pid;
}

void Cluster::Signal(const std::string& name, int signal) const {
  kill(processes_.at(name).pid, signal);
}

void Cluster::Kill(const std::string& name) {
  Process& process = processes_.at(name);
  CHECK_NE(process.pid, 0);
  kill(process.pid, SIGKILL);
  CHECK_EQ(waitpid(process.pid, nullptr, 0), process.pid);
  process.pid = 0;
}

int Cluster::Terminate(const std::string& name, absl::Duration limit) {
  Signal(name, SIGTERM);
  return AwaitEnd(name, limit);
}

int Cluster::AwaitEnd(const std::string& name, absl::Duration limit) {
  Process& process = processes_.at(name);
  const absl::Time end = absl::Now() + limit;
  int status = 0;
  while (waitpid(process.pid, &status, WNOHANG) == 0) {
    if (absl::Now() > end) return -1;
    absl::SleepFor(absl::Milliseconds(10));
  }
  process.pid = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string Cluster::endpoint(const std::string& name) const {
  return absl::StrCat("127.0.0.1:", processes_.at(name).port);
}

std::string Cluster::metrics_endpoint(const std::string& name) const {
  return absl::StrCat("127.0.0.1:", processes_.at(name).metrics_port);
}

std::string Cluster::log(const std::string& name) const {
  std::stringstream text;
  text << std::ifstream(processes_.at(name).log).rdbuf();
  return text.str();
}

std::unique_ptr<v1::InferenceService::Stub> Cluster::NewClient() const {
  return Channel(ChannelOptions{.endpoint = endpoint("router")}).NewStub<v1::InferenceService>();
}

absl::Status Cluster::WaitReady(absl::Duration limit) const {
  const absl::Time end = absl::Now() + limit;
  const auto client = NewClient();
  v1::GenerateRequest request;
  request.mutable_token_ids()->add_ids(5);
  request.set_max_tokens(2);
  absl::Status last;
  do {
    last = Generate(*client, request, {.deadline = absl::Seconds(5)}).status;
    if (last.ok()) return last;
    absl::SleepFor(absl::Milliseconds(50));
  } while (absl::Now() < end);
  return last;
}

absl::Status Cluster::WaitAllFree(const std::string& decode, absl::Duration limit) const {
  const absl::Time end = absl::Now() + limit;
  const auto stub =
      Channel(ChannelOptions{.endpoint = endpoint(decode)}).NewStub<v1::WorkerService>();
  grpc::ClientContext context;
  SetDeadline(context, end);
  context.set_wait_for_ready(true);  // it may just have been started
  const auto reader = stub->Watch(&context, v1::WatchRequest());
  v1::WatchResponse state;
  uint32_t pages_most = 0;
  bool free = false;
  while (!free && reader->Read(&state)) {
    pages_most = std::max(pages_most, state.pages_free());
    free = state.running() == 0 && state.waiting() == 0 && state.pages_free() == decode_pages_;
  }
  context.TryCancel();
  (void)reader->Finish();
  if (free) return absl::OkStatus();
  return absl::DeadlineExceededError(absl::StrCat(decode, ": ", pages_most, " of ", decode_pages_,
                                                  " pages are free, ", state.running(),
                                                  " running, ", state.waiting(), " waiting"));
}

}  // namespace tandem
