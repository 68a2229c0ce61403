// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/machine/nccl_version.h"

#include <dlfcn.h>

#include "absl/strings/str_cat.h"

namespace tandem {

std::string NcclVersion() {
  if (!TANDEM_HAS_NCCL) return {};
  void* const library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return {};
  const auto ask = reinterpret_cast<int (*)(int*)>(dlsym(library, "ncclGetVersion"));
  int code = 0;  // 22809 is 2.28.9
  if (ask == nullptr || ask(&code) != 0) return {};
  return absl::StrCat(code / 10000, ".", code / 100 % 100, ".", code % 100);
}

}  // namespace tandem
