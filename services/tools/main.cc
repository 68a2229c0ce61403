// SPDX-License-Identifier: Apache-2.0
// tandem: the command line.
#include <iostream>
#include <string>
#include <vector>

#include "services/runtime/base/log.h"
#include "services/runtime/config/program.h"
#include "services/runtime/rpc/server.h"
#include "services/tools/verbs.h"

namespace {

constexpr char kHelp[] =
    "tandem VERB [flags]\n\n"
    "  generate   one answer, streamed, or as JSON\n"
    "  chat       a conversation in the terminal\n"
    "  load       load, measured and checked\n"
    "  doctor     whether this machine is fit; what a model takes on one\n"
    "  health     whether a process serves\n\n"
    "tandem VERB --help says more; tandem --version says which.\n";

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> all(argv + 1, argv + argc);
  const std::string verb = all.empty() ? "--help" : all.front();
  const std::vector<std::string> arguments(all.begin() + (all.empty() ? 0 : 1), all.end());
  tandem::SetLogRole("tandem");
  tandem::RouteGrpcLog();
  tandem::StopDeadlockDetection();
  if (verb == "generate") return tandem::RunGenerate(arguments);
  if (verb == "chat") return tandem::RunChat(arguments);
  if (verb == "load") return tandem::RunLoad(arguments);
  if (verb == "doctor") return tandem::RunDoctor(arguments);
  if (verb == "health") return tandem::RunHealth(arguments);
  if (verb == "--version") {
    std::cout << "tandem " << tandem::Version() << "\n";
    return 0;
  }
  if (verb == "--help") {
    std::cout << kHelp;
    return 0;
  }
  std::cerr << "tandem: unknown verb \"" << verb << "\"\n" << kHelp;
  return 2;
}
