// SPDX-License-Identifier: Apache-2.0
// ShutdownSignals: SIGTERM and SIGINT as something a main() waits for. Made first in main(), before
// any thread exists, so that every thread inherits the mask. SIGPIPE is ignored.
#pragma once

namespace tandem {

class ShutdownSignals {
 public:
  ShutdownSignals();
  ShutdownSignals(const ShutdownSignals&) = delete;
  ShutdownSignals& operator=(const ShutdownSignals&) = delete;

  // Waits for the first signal and returns its number. A second one then ends the process at once.
  int Wait();

  // As if SIGTERM had come: for a loop that cannot go on. Any thread.
  static void Request();
};

}  // namespace tandem
