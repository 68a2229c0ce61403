// SPDX-License-Identifier: Apache-2.0
// FreePort: loopback ports for the processes of a test, which may be killed and come back on them.
#pragma once

namespace tandem {

// A TCP port that nobody has bound on loopback, at random, so that tests that run at once do not
// meet; never the same one twice in a process. It lies outside of the range from which the kernel
// takes the local ports of outgoing connections: none of those can take it while it is not
// listened on. Thread-safe.
int FreePort();

}  // namespace tandem
