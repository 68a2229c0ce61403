// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/parallel/limited_call.h"

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/runtime/base/thread.h"

namespace tandem {
namespace {

class Watched {
 public:
  explicit Watched(LimitedCall call)
      : call_(std::move(call)), thread_(call_.what, [this] { Run(); }) {}

  // Whether it has come back. Else it is left, and ends by itself.
  bool Await() {
    absl::MutexLock lock(&mutex_);
    left_ = !mutex_.AwaitWithTimeout(absl::Condition(&back_), call_.limit);
    if (left_) thread_.Leave();
    return !left_;
  }

 private:
  void Run() {
    call_.run();
    {
      absl::MutexLock lock(&mutex_);
      back_ = true;
      if (!left_) return;
    }
    call_.came_late();
    delete this;
  }

  const LimitedCall call_;
  absl::Mutex mutex_;
  bool back_ ABSL_GUARDED_BY(mutex_) = false;
  bool left_ ABSL_GUARDED_BY(mutex_) = false;
  Thread thread_;  // last: it uses the above
};

}  // namespace

absl::Status RunWithin(LimitedCall call) {
  const std::string what = call.what;
  const absl::Duration limit = call.limit;
  auto watched = std::make_unique<Watched>(std::move(call));
  if (watched->Await()) return absl::OkStatus();
  (void)watched.release();
  return absl::DeadlineExceededError(
      absl::StrCat(what, ": no end within ", absl::FormatDuration(limit)));
}

}  // namespace tandem
