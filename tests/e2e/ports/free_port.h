// SPDX-License-Identifier: Apache-2.0
// FreePort: loopback ports for the processes of a test, which may be killed and come back on them.
#pragma once

namespace tandem {

// A TCP port of loopback that belongs to this process until its end: whoever else asks for one,
// here or in a test that runs beside this one, gets another, though nothing may listen on this one
// yet, or for a while. A server that sets SO_REUSEADDR, as ours do, can listen on it. It lies
// outside of the range from which the kernel takes the local ports of outgoing connections: none of
// those can take it while it is not listened on. Thread-safe.
int FreePort();

}  // namespace tandem
