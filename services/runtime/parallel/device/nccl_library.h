// SPDX-License-Identifier: Apache-2.0
// NcclLibrary: NCCL's calls, found in libnccl.so.2 when they are first needed: a machine without it
// runs the same binaries, without what needs it. Thread-safe; lives for ever.
#pragma once

#include <nccl.h>

namespace tandem {

struct NcclLibrary {
  // Null where there is none, or one without these calls.
  static const NcclLibrary* Find();

  decltype(&ncclCommInitAll) init_all;
  decltype(&ncclGetUniqueId) unique_id;
  decltype(&ncclCommInitRankConfig) init_rank;
  decltype(&ncclCommDestroy) destroy;
  decltype(&ncclCommAbort) abort;
  decltype(&ncclCommGetAsyncError) async_error;
  decltype(&ncclGroupStart) group_start;
  decltype(&ncclGroupEnd) group_end;
  decltype(&ncclAllReduce) all_reduce;
  decltype(&ncclSend) send;
  decltype(&ncclRecv) receive;
  decltype(&ncclGetErrorString) error_string;
};

}  // namespace tandem
