// SPDX-License-Identifier: Apache-2.0
// The verbs of the command line tool. Each takes its arguments without program and verb, and
// returns the exit code: 0 done, 1 the server said no, 2 the arguments are wrong.
#pragma once

#include <string>
#include <vector>

namespace tandem {

// One answer, streamed to stdout (reasoning and a summary to stderr), or one JSON object.
int RunGenerate(const std::vector<std::string>& arguments);
// A conversation in the terminal.
int RunChat(const std::vector<std::string>& arguments);
// Load, measured and checked: run, sweep, search, soak, compare, report.
int RunLoad(const std::vector<std::string>& arguments);
// Whether this machine is fit, and what a model takes.
int RunDoctor(const std::vector<std::string>& arguments);
// grpc.health.v1: 0 = SERVING.
int RunHealth(const std::vector<std::string>& arguments);

}  // namespace tandem
