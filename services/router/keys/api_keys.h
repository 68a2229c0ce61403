// SPDX-License-Identifier: Apache-2.0
// ApiKeys: the keys that count now, and what each of them has left of its rate.
//
// A client shows its key as `authorization: Bearer KEY`. The file is looked at once a second while
// calls come; a change counts from then on, rates that stay the same go on; one that cannot be read
// is logged and changes nothing. Neither keys nor hashes are logged or told. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/server_context.h"
#include "services/router/keys/key_file.h"
#include "services/runtime/base/clock.h"

namespace tandem {

class ApiKeys {
 public:
  // Errors: NOT_FOUND, or ParseKeyFile's, after the file's name. `clock` outlives it.
  static absl::StatusOr<std::unique_ptr<ApiKeys>> Load(const std::string& path,
                                                       const Clock& clock = Clock::Real());

  // The name of the key that a call shows; UNAUTHENTICATED without one.
  absl::Status Identify(absl::string_view authorization, std::string& name)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // As Identify, and takes one request of its rate: RESOURCE_EXHAUSTED RATE_LIMIT says when there
  // is another.
  absl::Status Admit(absl::string_view authorization, std::string& name)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // What tells one state of a file from the next.
  struct Stamp {
    int64_t inode = 0, bytes = 0, changed_ns = 0;
    friend bool operator==(const Stamp&, const Stamp&) = default;
  };
  ApiKeys(std::string path, const Clock& clock) : path_(std::move(path)), clock_(clock) {}

  absl::Status Read() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Refresh() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Find(absl::string_view authorization, std::string& name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  const Clock& clock_;
  absl::Mutex mutex_;
  KeyRing keys_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, RateLimit> limits_ ABSL_GUARDED_BY(mutex_);  // by name
  Stamp stamp_ ABSL_GUARDED_BY(mutex_);
  absl::Time looked_ ABSL_GUARDED_BY(mutex_);
};

// The value of a call's `authorization`; empty without one.
absl::string_view AuthorizationOf(const grpc::CallbackServerContext& context);

}  // namespace tandem
