// SPDX-License-Identifier: Apache-2.0
// The main() of the three processes: --config FILE, --validate-config, --help, --version; anything
// else is an error. A failure is one line on stderr and exit code 2 (arguments, config) or 1 (run).
#pragma once

#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/message.h"

namespace tandem {

struct Program {
  std::string name;     // tandem-router
  std::string role;     // router: third column of the log
  std::string purpose;  // one line
};

// What the arguments ask for.
struct RunWith {
  std::string config_path;
  bool validate_only = false;
};
struct Exit {
  int code = 0;
};

// --help and --version are answered on stdout, errors on stderr; both give Exit.
std::variant<RunWith, Exit> ParseArguments(const Program& program, int argc,
                                           const char* const* argv);

// "0.1.0".
std::string Version();

// The exit code for what running gave; a failure is said on stderr.
int ReportEnd(const Program& program, const absl::Status& status, int failure_code);

// One log line: event `config` with the whole message.
void LogEffectiveConfig(const google::protobuf::Message& config);

// 16 hex digits, the same for the same configuration: two processes that should be alike are.
std::string ConfigHash(const google::protobuf::Message& config);

// Absl as Debian builds it looks for deadlocks at every lock, in every program: in release builds
// of ours it does not.
void StopDeadlockDetection();

template <typename Config>
struct Steps {
  absl::StatusOr<Config> (*load)(const std::string& path);
  absl::Status (*run)(const Config& config);  // returns when the process is to end
};

template <typename Config>
int RunProgram(const Program& program, const Steps<Config>& steps, int argc, char** argv) {
  const std::variant<RunWith, Exit> arguments = ParseArguments(program, argc, argv);
  if (const auto* end = std::get_if<Exit>(&arguments)) return end->code;
  const RunWith& wanted = std::get<RunWith>(arguments);
  const absl::StatusOr<Config> config = steps.load(wanted.config_path);
  if (!config.ok() || wanted.validate_only) {
    return ReportEnd(program, config.status(), /*failure_code=*/2);
  }
  LogEffectiveConfig(*config);
  StopDeadlockDetection();
  return ReportEnd(program, steps.run(*config), /*failure_code=*/1);
}

}  // namespace tandem
