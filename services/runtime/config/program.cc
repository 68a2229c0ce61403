// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/config/program.h"

#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "google/protobuf/text_format.h"
#include "services/runtime/base/fnv1a.h"
#include "services/runtime/base/log.h"

namespace tandem {
namespace {

Exit Usage(const Program& program, absl::string_view error) {
  std::cerr << program.name << ": " << error << "; --help says what there is\n";
  return {.code = 2};
}

void Help(const Program& program) {
  std::cout << program.name << ": " << program.purpose << "\n\n"
            << "  --config FILE       text-format config (proto/tandem/v1/config.proto)\n"
            << "  --validate-config   check the file and end\n"
            << "  --version           print the version and end\n"
            << "  --help              print this and end\n";
}

// Without the space at the end that protobuf leaves.
std::string OneLine(const google::protobuf::Message& config) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  std::string text;
  printer.PrintToString(config, &text);
  return std::string(absl::StripSuffix(text, " "));
}

}  // namespace

std::string Version() {
  return TANDEM_VERSION;
}

std::variant<RunWith, Exit> ParseArguments(const Program& program, int argc,
                                           const char* const* argv) {
  SetLogRole(program.role);
  RunWith out;
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    if (argument == "--help") {
      Help(program);
      return Exit{.code = 0};
    }
    if (argument == "--version") {
      std::cout << program.name << " " << Version() << "\n";
      return Exit{.code = 0};
    }
    if (argument == "--validate-config") {
      out.validate_only = true;
    } else if (absl::ConsumePrefix(&argument, "--config=")) {
      out.config_path = std::string(argument);
    } else if (argument == "--config") {
      if (i + 1 == argc) return Usage(program, "--config needs a file");
      out.config_path = argv[++i];
    } else {
      return Usage(program, absl::StrCat("unknown argument \"", argument, "\""));
    }
  }
  if (out.config_path.empty()) return Usage(program, "--config FILE is required");
  return out;
}

int ReportEnd(const Program& program, const absl::Status& status, int failure_code) {
  if (status.ok()) return 0;
  std::cerr << program.name << ": " << status.message() << std::endl;
  return failure_code;
}

void StopDeadlockDetection() {
#ifdef NDEBUG
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
}

void LogEffectiveConfig(const google::protobuf::Message& config) {
  LogInfo("config",
          {{"version", Version()}, {"hash", ConfigHash(config)}, {"effective", OneLine(config)}});
}

std::string ConfigHash(const google::protobuf::Message& config) {
  return absl::StrCat(absl::Hex(Fnv1a(OneLine(config)), absl::kZeroPad16));
}

}  // namespace tandem
