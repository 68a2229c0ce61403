// SPDX-License-Identifier: Apache-2.0
#include "services/router/keys/api_keys.h"

#include <openssl/sha.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

constexpr absl::Duration kLook = absl::Seconds(1);

std::string HashOf(absl::string_view key) {
  std::string hash(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const uint8_t*>(key.data()), key.size(),
         reinterpret_cast<uint8_t*>(hash.data()));
  return hash;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ApiKeys>> ApiKeys::Load(const std::string& path,
                                                       const Clock& clock) {
  std::unique_ptr<ApiKeys> keys(new ApiKeys(path, clock));
  absl::MutexLock lock(&keys->mutex_);
  RETURN_IF_ERROR(keys->Read());
  return keys;
}

absl::Status ApiKeys::Read() {
  looked_ = clock_.Now();
  struct stat file = {};
  if (stat(path_.c_str(), &file) != 0)
    return absl::NotFoundError(absl::StrCat(path_, ": ", std::strerror(errno)));
  const Stamp stamp{.inode = static_cast<int64_t>(file.st_ino),
                    .bytes = file.st_size,
                    .changed_ns = file.st_mtim.tv_sec * 1'000'000'000 + file.st_mtim.tv_nsec};
  if (stamp == stamp_) return absl::OkStatus();
  stamp_ = stamp;  // also of a file that is wrong: it is said once
  std::ifstream in(path_, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  absl::StatusOr<KeyRing> keys = ParseKeyFile(text);
  if (!keys.ok())
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", keys.status().message()));
  keys_ = *std::move(keys);
  std::map<std::string, RateLimit> before;
  before.swap(limits_);
  for (const auto& [hash, key] : keys_) {
    const auto old = before.find(key.name);
    const bool same = old != before.end() && old->second.rate() == key.rate;
    limits_.emplace(key.name, same ? old->second : RateLimit(key.rate));
  }
  LogInfo("api_keys", {{"file", path_}, {"keys", keys_.size()}});
  return absl::OkStatus();
}

void ApiKeys::Refresh() {
  if (clock_.Now() - looked_ < kLook) return;
  if (const absl::Status status = Read(); !status.ok())
    LogWarning("api_keys", {{"kept", keys_.size()}, {"why", std::string(status.message())}});
}

absl::Status ApiKeys::Find(absl::string_view authorization, std::string& name) {
  Refresh();
  if (authorization.empty()) {
    return ApiKeyWrong("an API key is required: authorization: Bearer KEY");
  }
  constexpr absl::string_view kScheme = "Bearer ";
  if (!absl::StartsWithIgnoreCase(authorization, kScheme))
    return ApiKeyWrong("authorization: the scheme is not Bearer");
  const auto key = keys_.find(HashOf(authorization.substr(kScheme.size())));
  if (key == keys_.end()) return ApiKeyWrong("the API key is not known");
  name = key->second.name;
  return absl::OkStatus();
}

absl::Status ApiKeys::Identify(absl::string_view authorization, std::string& name) {
  absl::MutexLock lock(&mutex_);
  return Find(authorization, name);
}

absl::Status ApiKeys::Admit(absl::string_view authorization, std::string& name) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(Find(authorization, name));
  RateLimit& limit = limits_.at(name);
  const absl::Duration wait = limit.Take(clock_.Now());
  if (wait == absl::ZeroDuration()) return absl::OkStatus();
  return RateLimited(
      {.message = absl::StrCat("key ", name, ": at most ", limit.rate().per_second,
                               " requests a second, ", limit.rate().burst, " at once"),
       .after = wait});
}

absl::string_view AuthorizationOf(const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto it = metadata.find("authorization");
  return it == metadata.end() ? absl::string_view()
                              : absl::string_view(it->second.data(), it->second.size());
}

}  // namespace tandem
