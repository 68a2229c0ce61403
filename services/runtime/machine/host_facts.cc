// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/machine/host_facts.h"

#include <sys/resource.h>
#include <sys/statvfs.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace tandem {
namespace {

// The first word that starts with a digit and has a dot: "… Kernel Module  580.105.08  Release …".
std::string VersionIn(absl::string_view text) {
  for (const absl::string_view word : absl::StrSplit(text, absl::ByAnyChar(" \n\t"))) {
    if (!word.empty() && absl::ascii_isdigit(word[0]) && absl::StrContains(word, '.')) {
      return std::string(word);
    }
  }
  return "";
}

// Of "key: value" lines, the value.
std::string ValueOf(absl::string_view text, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, key) || !absl::ConsumePrefix(&line, ":")) continue;
    line = absl::StripAsciiWhitespace(line);
    if (absl::ConsumePrefix(&line, "\"")) absl::ConsumeSuffix(&line, "\"");
    return std::string(line);
  }
  return "";
}

std::optional<int64_t> Available(absl::string_view meminfo) {
  const std::string value = ValueOf(meminfo, "MemAvailable");  // "123 kB"
  int64_t kilobytes = 0;
  if (!absl::SimpleAtoi(value.substr(0, value.find(' ')), &kilobytes)) return std::nullopt;
  return kilobytes * 1024;
}

}  // namespace

HostFacts ReadHostFacts(const SystemFiles& files) {
  HostFacts out;
  out.command_line =
      absl::StrSplit(files.Text("/proc/cmdline").value_or(""), ' ', absl::SkipEmpty());
  out.driver = VersionIn(files.Text("/proc/driver/nvidia/version").value_or(""));
  out.registry = ValueOf(files.Text("/proc/driver/nvidia/params").value_or(""), "RegistryDwords");
  out.iommu = !files.Names("/sys/class/iommu").empty();
  if (const auto off = files.Text("/sys/module/nvidia_uvm/parameters/uvm_disable_hmm")) {
    out.uvm_hmm = *off == "N" || *off == "0";
  }
  struct statvfs shm = {};
  if (statvfs(files.Whole("/dev/shm").c_str(), &shm) == 0) {
    out.shm_bytes = static_cast<int64_t>(shm.f_blocks * shm.f_frsize);
    out.shm_free_bytes = static_cast<int64_t>(shm.f_bavail * shm.f_frsize);
  }
  out.memory_free_bytes = Available(files.Text("/proc/meminfo").value_or(""));
  rlimit limit = {};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    out.lockable_bytes = static_cast<int64_t>(limit.rlim_cur);
  }
  return out;
}

bool HasWord(const HostFacts& facts, const std::string& word) {
  return std::find(facts.command_line.begin(), facts.command_line.end(), word) !=
         facts.command_line.end();
}

}  // namespace tandem
