// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "services/tools/load/modes/modes.h"
#include "services/tools/load/report/report_verbs.h"
#include "services/tools/verbs.h"

namespace tandem {
namespace {

struct Verb {
  const char* name;
  const char* help;
  int (*run)(const std::vector<std::string>& arguments);
};

template <Mode kMode>
int Run(const std::vector<std::string>& arguments) {
  return RunMode(kMode, arguments);
}

constexpr Verb kVerbs[] = {
    {"run", "load of one shape, measured and checked", Run<Mode::kRun>},
    {"sweep", "a run for each of several rates or concurrencies", Run<Mode::kSweep>},
    {"search", "the highest rate that keeps to limits", Run<Mode::kSearch>},
    {"soak", "a long run with checks for leaks", Run<Mode::kSoak>},
    {"compare", "two results, and whether the second is worse", RunLoadCompare},
    {"report", "results as tables or as one page", RunLoadReport},
};

void PrintHelp(std::ostream& out) {
  out << "tandem load VERB [flags]\n\n";
  for (const Verb& verb : kVerbs) {
    out << "  " << verb.name << std::string(10 - std::string(verb.name).size(), ' ') << verb.help
        << "\n";
  }
  out << "\n  tandem load run --concurrency 8 --requests 100\n"
         "\ntandem load VERB --help says more.\n";
}

}  // namespace

int RunLoad(const std::vector<std::string>& arguments) {
  const std::string name = arguments.empty() ? "--help" : arguments.front();
  for (const Verb& verb : kVerbs) {
    if (name == verb.name) return verb.run({arguments.begin() + 1, arguments.end()});
  }
  if (name == "--help") {
    PrintHelp(std::cout);
    return 0;
  }
  std::cerr << "tandem load: unknown verb \"" << name << "\"\n";
  PrintHelp(std::cerr);
  return 2;
}

}  // namespace tandem
