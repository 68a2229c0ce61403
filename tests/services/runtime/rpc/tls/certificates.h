// SPDX-License-Identifier: Apache-2.0
// Certificates for tests: authorities of our own, and what they sign.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

#include "absl/time/time.h"

namespace tandem {

struct FreeOpenssl {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
};

// A certificate for localhost and 127.0.0.1 with its key, as PEM.
struct Identity {
  std::string cert;
  std::string key;
};

class Authority {
 public:
  explicit Authority(const std::string& name);

  // As PEM.
  std::string cert() const;
  Identity Sign(const std::string& name, absl::Duration valid = absl::Hours(24)) const;

 private:
  std::unique_ptr<EVP_PKEY, FreeOpenssl> key_;
  std::unique_ptr<X509, FreeOpenssl> cert_;
};

}  // namespace tandem
