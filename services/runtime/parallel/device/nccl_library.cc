// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/parallel/device/nccl_library.h"

#include <dlfcn.h>

namespace tandem {
namespace {

template <typename Call>
bool Take(void* library, const char* name, Call* call) {
  *call = reinterpret_cast<Call>(dlsym(library, name));
  return *call != nullptr;
}

const NcclLibrary* Open() {
  void* const library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return nullptr;
  static NcclLibrary calls;
  const bool complete = Take(library, "ncclCommInitAll", &calls.init_all) &&
                        Take(library, "ncclGetUniqueId", &calls.unique_id) &&
                        Take(library, "ncclCommInitRankConfig", &calls.init_rank) &&
                        Take(library, "ncclCommDestroy", &calls.destroy) &&
                        Take(library, "ncclCommAbort", &calls.abort) &&
                        Take(library, "ncclCommGetAsyncError", &calls.async_error) &&
                        Take(library, "ncclGroupStart", &calls.group_start) &&
                        Take(library, "ncclGroupEnd", &calls.group_end) &&
                        Take(library, "ncclAllReduce", &calls.all_reduce) &&
                        Take(library, "ncclSend", &calls.send) &&
                        Take(library, "ncclRecv", &calls.receive) &&
                        Take(library, "ncclGetErrorString", &calls.error_string);
  return complete ? &calls : nullptr;
}

}  // namespace

const NcclLibrary* NcclLibrary::Find() {
  static const NcclLibrary* const kFound = Open();
  return kFound;
}

}  // namespace tandem
