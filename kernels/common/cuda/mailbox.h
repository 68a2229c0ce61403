// SPDX-License-Identifier: Apache-2.0
// Memory through which blocks of one kernel pass words to each other, a mailbox a queue.
//
// Between kernels every word is ones: a kernel that leaves a word there takes it away again, so
// that nothing need be cleared, and calls of different sizes may follow each other. A queue's
// kernels run one after the other, so one mailbox serves all of them, replays too. Made by the
// first operation that asks for it, kept until the process ends. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/common/stream.h"

namespace tandem::kernels::cuda {

inline constexpr uint32_t kNoMail = 0xFFFFFFFFu;
inline constexpr int64_t kMailboxBytes = int64_t{3} << 19;

uint32_t* Mailbox(const Stream& stream);

}  // namespace tandem::kernels::cuda
