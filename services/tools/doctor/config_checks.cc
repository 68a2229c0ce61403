// SPDX-License-Identifier: Apache-2.0
#include "services/tools/doctor/config_checks.h"

#include <algorithm>
#include <set>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/service_config.h"
#include "services/runtime/machine/ports.h"
#include "services/runtime/machine/system_files.h"
#include "services/runtime/model/config/model_config.h"
#include "services/runtime/plan/model_folder.h"
#include "services/runtime/plan/worker_plan.h"

namespace tandem {
namespace {

Finding Refused(const std::string& subject, const absl::Status& status) {
  return {.verdict = Verdict::kProblem, .subject = subject, .text = std::string(status.message())};
}

// A checkpoint folder: config.json, tokenizer.json, every tensor.
Findings CheckModel(const std::string& folder) {
  Findings out;
  const absl::StatusOr<ModelFolder> model = OpenModelFolder(folder);
  if (model.ok()) {
    out.push_back(
        {.subject = "model",
         .text = absl::StrCat(folder, ": complete, ", model->config.num_hidden_layers, " layers, ",
                              Amount(static_cast<double>(model->bytes)), " of weights")});
  } else {
    out.push_back(Refused("model", model.status()));
    out.back().advice =
        "a checkpoint in the released layout: config.json, tokenizer.json and every "
        "shard that model.safetensors.index.json names";
  }
  if (!SystemFiles(folder).Bytes("/tokenizer.json").has_value()) {
    out.push_back({.verdict = Verdict::kProblem,
                   .subject = "model",
                   .text = absl::StrCat(folder, "/tokenizer.json cannot be read"),
                   .advice = "the router needs it: copy it from the released checkpoint"});
  }
  return out;
}

// Of /dev/shm, by a decode worker on the CPU.
absl::StatusOr<int64_t> ShmBytes(const v1::DecodeConfig& config, const ModelConfig& model) {
  const v1::WorkerConfig& worker = config.worker();
  ASSIGN_OR_RETURN(const int64_t bytes,
                   PoolBytes(model, {.pages = static_cast<int>(config.pages()),
                                     .slots = static_cast<int>(config.slots())}));
  return worker.weights() == v1::WEIGHTS_SHARED ? bytes + MostOnHost(model) : bytes;
}

// Whether both can have one copy of the weights.
bool SameWeights(const v1::WorkerConfig& a, const v1::WorkerConfig& b) {
  return a.model_name() == b.model_name() && a.load_format() == b.load_format() &&
         a.device() == b.device() && a.kernels() == b.kernels() && GpusOf(a) == GpusOf(b);
}

class Checker {
 public:
  void Model(const std::string& folder) { whole_.insert(folder); }

  void Router(const std::string& path) {
    const absl::StatusOr<v1::RouterConfig> config = LoadRouterConfig(path);
    if (!Read("router", path, config.status())) return;
    Addresses(*config);
    if (config->has_registry()) Listens(config->registry().listen());
    // A router reads no weights.
    configs_.insert(config->model_dir());
  }

  void Prefill(const std::string& path) {
    const absl::StatusOr<v1::PrefillConfig> config = LoadPrefillConfig(path);
    if (!Read("prefill", path, config.status())) return;
    Worker(config->worker());
    out_.prefills.push_back(*config);
  }

  void Decode(const std::string& path) {
    const absl::StatusOr<v1::DecodeConfig> config = LoadDecodeConfig(path);
    if (!Read("decode", path, config.status())) return;
    Worker(config->worker());
    out_.decodes.push_back(*config);
    if (config->worker().device() == v1::DEVICE_CUDA) return;
    const absl::StatusOr<ModelConfig> model = ModelConfig::FromFolder(config->worker().model_dir());
    if (!model.ok()) return;  // said below
    const absl::StatusOr<int64_t> bytes = ShmBytes(*config, *model);
    if (!bytes.ok()) return out_.findings.push_back(Refused("decode", bytes.status()));
    out_.shm_bytes += *bytes;
  }

  ConfigReport Finish() {
    for (const std::string& folder : whole_) {
      for (Finding& finding : CheckModel(folder)) out_.findings.push_back(std::move(finding));
    }
    for (const std::string& folder : configs_) {
      if (whole_.contains(folder)) continue;
      const absl::StatusOr<ModelConfig> model = ModelConfig::FromFolder(folder);
      if (!model.ok()) out_.findings.push_back(Refused("model", model.status()));
    }
    // Without a decode config it may stand elsewhere.
    for (const v1::PrefillConfig& prefill : out_.prefills) {
      const bool follows = prefill.worker().weights() == v1::WEIGHTS_SHARED;
      if (follows && !out_.decodes.empty()) out_.findings.push_back(Holder(prefill.worker()));
    }
    return std::move(out_);
  }

 private:
  Finding Holder(const v1::WorkerConfig& follower) const {
    const bool held = absl::c_any_of(out_.decodes, [&follower](const v1::DecodeConfig& decode) {
      return decode.worker().weights() == v1::WEIGHTS_SHARED &&
             SameWeights(decode.worker(), follower);
    });
    if (held) return {.subject = "weights", .text = "one copy for prefill and decode"};
    return {.verdict = Verdict::kProblem,
            .subject = "weights",
            .text = absl::StrCat("prefill shares those of ", follower.model_name(),
                                 ", and no decode worker holds them for it"),
            .advice =
                "weights: WEIGHTS_SHARED in both configs, with the same model_name, "
                "load_format, device, GPUs and tensor_parallel; or WEIGHTS_OWN"};
  }

  bool Read(const std::string& role, const std::string& path, const absl::Status& status) {
    if (status.ok()) {
      out_.findings.push_back({.subject = role, .text = absl::StrCat(path, " is valid")});
    } else {
      out_.findings.push_back(Refused(role, status));
    }
    return status.ok();
  }

  void Worker(const v1::WorkerConfig& worker) {
    Addresses(worker);
    out_.wants_gpu |= worker.device() == v1::DEVICE_CUDA;
    // A simulation reads config.json alone.
    const bool no_weights =
        worker.engine() == v1::ENGINE_SIM || worker.load_format() == v1::LOAD_FORMAT_DUMMY;
    (no_weights ? configs_ : whole_).insert(worker.model_dir());
  }

  template <typename Config>
  void Addresses(const Config& config) {
    for (const std::string& address :
         {config.listen(), config.metrics_listen(), config.health_listen()}) {
      Listens(address);
    }
  }

  void Listens(const std::string& address) {
    if (!address.empty() && !absl::EndsWith(address, ":0")) Address(address);
  }

  void Address(const std::string& address) {
    Finding out{.subject = "port", .text = absl::StrCat(address, " is free")};
    if (!addresses_.insert(address).second) {
      out = {.verdict = Verdict::kProblem,
             .subject = "port",
             .text = absl::StrCat(address, " is named twice"),
             .advice = "give each process its own"};
    } else if (const absl::Status status = CanListen(address); !status.ok()) {
      out = Refused("port", status);
      out.advice = "stop what listens there (ss -ltnp), or name another in the config";
    }
    out_.findings.push_back(std::move(out));
  }

  ConfigReport out_;
  std::set<std::string> addresses_;
  std::set<std::string> whole_;    // folders of which the weights are read
  std::set<std::string> configs_;  // folders of which config.json is
};

}  // namespace

ConfigReport CheckConfigs(const ConfigFiles& files) {
  Checker checker;
  for (const std::string& folder : files.model) checker.Model(folder);
  for (const std::string& path : files.router) checker.Router(path);
  for (const std::string& path : files.prefill) checker.Prefill(path);
  for (const std::string& path : files.decode) checker.Decode(path);
  return checker.Finish();
}

}  // namespace tandem
