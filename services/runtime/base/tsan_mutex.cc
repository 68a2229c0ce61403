// SPDX-License-Identifier: Apache-2.0
// Built only under ThreadSanitizer. Debian's Abseil is not instrumented, so TSan sees none of
// absl::Mutex's and absl::Notification's ordering and reports races that are none. These
// definitions stand before the library's, tell TSan, and call the library's. gRPC's own mutexes are
// the same class: its hand-overs between threads become visible too.
#include <dlfcn.h>
#include <grpc/grpc.h>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);

// What a linker is told to ask for.
void tandem_tsan_mutex() {}

// What the libraries of Debian do among themselves is not visible: memcpy and free in them are not
// looked at.
const char* __tsan_default_options() {
  return "ignore_noninstrumented_modules=1";
}

// gRPC's templates are compiled here, but hand over between threads inside the library. None of
// these frames stands under a reaction of ours, so that no race of ours is hidden.
const char* __tsan_default_suppressions() {
  return "race:^grpc::internal::InterceptorBatchMethodsImpl::\n"
         "race:grpc::internal::CallOp\n"
         "race:^grpc::internal::Call::\n"
         "race:^grpc::ByteBuffer::\n"
         "race:grpc::GenericSerialize\n"
         "race:grpc::GenericDeserialize\n"
         "race:^grpc::ProtoBufferReader::\n"
         "race:^grpc::internal::CompletionQueueTag::\n"
         "race:^grpc::internal::ClientCallback*Impl<*>::ClientCallback*Impl\n"
         "race:^grpc::internal::Callback*Handler<*>::ServerCallback*Impl::ServerCallback*Impl\n"
         "race:^grpc::internal::CallbackWithSuccessTag::CallbackWithSuccessTag\n"
         "race:^grpc::internal::CallbackWithSuccessTag::Clear\n"
         // A notification's flag, which the library reads once more as it lets go of the mutex; its
         // destructor waits for that.
         "race:absl::*::Notification::HasBeenNotifiedInternal\n"
         // Under a reaction, hence only as the place of the race itself.
         "race_top:^grpc::internal::CallbackWithSuccessTag::Run\n"
         "race_top:^grpc::internal::ClientCallback\n"
         "race_top:^grpc::ServerCallback\n"
         "race_top:^grpc::internal::CallbackServerStreamingHandler\n"
         "race_top:^grpc::internal::CallbackUnaryHandler\n"
         "race_top:^grpc::internal::CallbackWithStatusTag::Run\n"
         "race_top:^std::function<void (bool)>::operator()\n"
         "race_top:^std::function<void (grpc::Status)>::\n"
         "race_top:^std::_Function_base::_M_empty\n";
}
}

namespace {

// The library's definition of the symbol that a definition here hides.
template <typename Function>
Function* Library(const char* symbol) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, symbol));
}

// A condition is evaluated by whichever thread holds the mutex at the time, inside the library.
struct Seen {
  absl::Mutex* mutex;
  const absl::Condition* condition;
};

bool Evaluate(Seen* seen) {
  __tsan_acquire(seen->mutex);
  const bool met = seen->condition->Eval();
  __tsan_release(seen->mutex);
  return met;
}

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

#define TANDEM_SYMBOL(rest) "_ZN4absl7debian3" rest

void Mutex::Lock() {
  static auto* const kReal = Library<void(Mutex*)>(TANDEM_SYMBOL("5Mutex4LockEv"));
  kReal(this);
  __tsan_acquire(this);
}

bool Mutex::TryLock() {
  static auto* const kReal = Library<bool(Mutex*)>(TANDEM_SYMBOL("5Mutex7TryLockEv"));
  const bool locked = kReal(this);
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::Unlock() {
  static auto* const kReal = Library<void(Mutex*)>(TANDEM_SYMBOL("5Mutex6UnlockEv"));
  __tsan_release(this);
  kReal(this);
}

void Mutex::ReaderLock() {
  static auto* const kReal = Library<void(Mutex*)>(TANDEM_SYMBOL("5Mutex10ReaderLockEv"));
  kReal(this);
  __tsan_acquire(this);
}

void Mutex::ReaderUnlock() {
  static auto* const kReal = Library<void(Mutex*)>(TANDEM_SYMBOL("5Mutex12ReaderUnlockEv"));
  __tsan_release(this);
  kReal(this);
}

void Mutex::Await(const Condition& condition) {
  static auto* const kReal =
      Library<void(Mutex*, const Condition&)>(TANDEM_SYMBOL("5Mutex5AwaitERKNS0_9ConditionE"));
  __tsan_release(this);
  Seen seen = {this, &condition};
  kReal(this, Condition(&Evaluate, &seen));
  __tsan_acquire(this);
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  static auto* const kReal = Library<bool(Mutex*, const Condition&, Duration)>(
      TANDEM_SYMBOL("5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE"));
  __tsan_release(this);
  Seen seen = {this, &condition};
  const bool met = kReal(this, Condition(&Evaluate, &seen), timeout);
  __tsan_acquire(this);
  return met;
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  static auto* const kReal = Library<bool(Mutex*, const Condition&, Time)>(
      TANDEM_SYMBOL("5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE"));
  __tsan_release(this);
  Seen seen = {this, &condition};
  const bool met = kReal(this, Condition(&Evaluate, &seen), deadline);
  __tsan_acquire(this);
  return met;
}

void CondVar::Wait(Mutex* mutex) {
  static auto* const kReal =
      Library<void(CondVar*, Mutex*)>(TANDEM_SYMBOL("7CondVar4WaitEPNS0_5MutexE"));
  __tsan_release(mutex);
  kReal(this, mutex);
  __tsan_acquire(mutex);
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  static auto* const kReal = Library<bool(CondVar*, Mutex*, Duration)>(
      TANDEM_SYMBOL("7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE"));
  __tsan_release(mutex);
  const bool signalled = kReal(this, mutex, timeout);
  __tsan_acquire(mutex);
  return signalled;
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  static auto* const kReal = Library<bool(CondVar*, Mutex*, Time)>(
      TANDEM_SYMBOL("7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE"));
  __tsan_release(mutex);
  const bool timed_out = kReal(this, mutex, deadline);
  __tsan_acquire(mutex);
  return timed_out;
}

void Notification::Notify() {
  static auto* const kReal = Library<void(Notification*)>(TANDEM_SYMBOL("12Notification6NotifyEv"));
  __tsan_release(this);
  __tsan_release(&notified_yet_);  // HasBeenNotified is compiled here
  kReal(this);
}

void Notification::WaitForNotification() const {
  static auto* const kReal =
      Library<void(const Notification*)>("_ZNK4absl7debian312Notification19WaitForNotificationEv");
  kReal(this);
  __tsan_acquire(const_cast<Notification*>(this));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  static auto* const kReal = Library<bool(const Notification*, Duration)>(
      "_ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_8DurationE");
  const bool notified = kReal(this, timeout);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  static auto* const kReal = Library<bool(const Notification*, Time)>(
      "_ZNK4absl7debian312Notification31WaitForNotificationWithDeadlineENS0_4TimeE");
  const bool notified = kReal(this, deadline);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

ABSL_NAMESPACE_END
}  // namespace absl

// gRPC hands work from the thread that starts a batch to the one that runs its callback, known by
// the batch's tag; and what stands before a server starts is known to every callback.
extern "C" {

namespace {
int started_servers = 0;
}  // namespace

grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t nops, void* tag,
                                      void* reserved) {
  static auto* const kReal =
      Library<grpc_call_error(grpc_call*, const grpc_op*, size_t, void*, void*)>(
          "grpc_call_start_batch");
  __tsan_release(tag);
  return kReal(call, ops, nops, tag, reserved);
}

void grpc_server_start(grpc_server* server) {
  static auto* const kReal = Library<void(grpc_server*)>("grpc_server_start");
  __tsan_release(&started_servers);
  kReal(server);
}

grpc_event grpc_completion_queue_next(grpc_completion_queue* queue, gpr_timespec deadline,
                                      void* reserved) {
  static auto* const kReal = Library<grpc_event(grpc_completion_queue*, gpr_timespec, void*)>(
      "grpc_completion_queue_next");
  const grpc_event event = kReal(queue, deadline, reserved);
  __tsan_acquire(&started_servers);
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  return event;
}
}
