// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/rpc/signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

namespace tandem {
namespace {

sigset_t Wanted() {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGTERM);
  sigaddset(&wanted, SIGINT);
  return wanted;
}

}  // namespace

ShutdownSignals::ShutdownSignals() {
  const sigset_t wanted = Wanted();
  pthread_sigmask(SIG_BLOCK, &wanted, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

int ShutdownSignals::Wait() {
  const sigset_t wanted = Wanted();
  int number = 0;
  while (sigwait(&wanted, &number) != 0) {
  }
  // One thread that takes the signal is enough for its default action, which ends the process.
  pthread_sigmask(SIG_UNBLOCK, &wanted, nullptr);
  return number;
}

void ShutdownSignals::Request() {
  kill(getpid(), SIGTERM);
}

}  // namespace tandem
