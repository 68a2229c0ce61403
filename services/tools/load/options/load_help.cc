// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/options/load_help.h"

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

struct About {
  const char* name;
  const char* purpose;
  const char* example;
};

About AboutOf(Mode mode) {
  switch (mode) {
    case Mode::kRun:
      break;
    case Mode::kSweep:
      return {
          "sweep", "a run for each of several rates or concurrencies",
          "  tandem load sweep --rates 5,10,20,40 --duration 30s --warmup 5s --html sweep.html\n"};
    case Mode::kSearch:
      return {"search", "the highest rate at which a share of the requests keeps to limits",
              "  tandem load search --slo ttft:500,tpot:50 --arrival poisson --duration 30s\n"};
    case Mode::kSoak:
      return {"soak", "a long run, a line each interval, with checks for leaks",
              "  tandem load soak --concurrency 32 --duration 8h --nasty 0.05 --check-idle "
              "127.0.0.1:9440\n"};
  }
  return {"run", "load of one shape, measured and checked",
          "  tandem load run --concurrency 8 --requests 100\n"
          "  tandem load run --rate 20 --arrival poisson --duration 60s --warmup 10s "
          "--slo ttft:500,tpot:50\n"};
}

}  // namespace

const char* NameOf(Mode mode) {
  return AboutOf(mode).name;
}

std::string LoadHelp(Mode mode) {
  const About about = AboutOf(mode);
  std::string out =
      absl::StrCat("tandem load ", about.name, ": ", about.purpose, "\n\n", about.example);
  for (const FlagGroup& group : LoadFlagGroups(mode)) {
    absl::StrAppend(&out, "\n", group.title, "\n", Flags::Help(group.flags));
  }
  absl::StrAppend(&out,
                  "\nTIME is 500ms, 10s, 2m, 8h. Exit code: 0 fine; 1 a failed check, an error, or "
                  "nothing completed\n(search: no rate keeps to the limits); 2 wrong flags. What "
                  "the server sheds under overload\n(RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED) is a "
                  "result, not an error; so is, with --expect-loss,\nUNAVAILABLE with a reason.\n");
  return out;
}

}  // namespace tandem
