// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/rpc/tls/pem_files.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

// A key under a password is none: nobody is there to type it.
int NoPassword(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*user*/) {
  return 0;
}

// One file of the config.
class PemFile {
 public:
  PemFile(absl::string_view field, absl::string_view name, const std::string& path)
      : what_(absl::StrCat(field, ".", name, ": ", path)), bio_(BIO_new_file(path.c_str(), "r")) {}

  absl::Status Bad(absl::string_view why) const {
    return absl::InvalidArgumentError(absl::StrCat(what_, " ", why));
  }
  absl::Status Readable() const {
    if (bio_ != nullptr) return absl::OkStatus();
    return absl::NotFoundError(absl::StrCat(what_, " cannot be read"));
  }
  Owned<X509> Certificate() {
    return Owned<X509>(PEM_read_bio_X509(bio_.get(), nullptr, NoPassword, nullptr));
  }
  Owned<EVP_PKEY> Key() {
    return Owned<EVP_PKEY>(PEM_read_bio_PrivateKey(bio_.get(), nullptr, NoPassword, nullptr));
  }

 private:
  const std::string what_;
  const Owned<BIO> bio_;
};

absl::Status CheckIdentity(absl::string_view field, const v1::Tls& tls) {
  PemFile cert_file(field, "cert_file", tls.cert_file());
  absl::Status status = cert_file.Readable();
  if (!status.ok()) return status;
  const Owned<X509> certificate = cert_file.Certificate();
  if (certificate == nullptr) return cert_file.Bad("holds no PEM certificate");
  if (X509_cmp_current_time(X509_get0_notAfter(certificate.get())) < 0)
    return cert_file.Bad("has expired");
  PemFile key_file(field, "key_file", tls.key_file());
  status = key_file.Readable();
  if (!status.ok()) return status;
  const Owned<EVP_PKEY> key = key_file.Key();
  if (key == nullptr) return key_file.Bad("holds no PEM private key without a password");
  if (X509_check_private_key(certificate.get(), key.get()) != 1)
    return key_file.Bad(absl::StrCat("is not the key of ", tls.cert_file()));
  return absl::OkStatus();
}

absl::Status CheckCa(absl::string_view field, const v1::Tls& tls) {
  PemFile file(field, "ca_file", tls.ca_file());
  absl::Status status = file.Readable();
  if (status.ok() && file.Certificate() == nullptr) status = file.Bad("holds no PEM certificate");
  return status;
}

}  // namespace

absl::Status CheckPemFiles(absl::string_view field, const v1::Tls& tls, TlsSide side) {
  const bool identity = !tls.cert_file().empty() || !tls.key_file().empty();
  if (side == TlsSide::kServer || identity) {
    for (const auto& [name, path] :
         {std::pair("cert_file", &tls.cert_file()), std::pair("key_file", &tls.key_file())}) {
      if (path->empty())
        return absl::InvalidArgumentError(absl::StrCat(field, ".", name, ": is required"));
    }
    const absl::Status status = CheckIdentity(field, tls);
    if (!status.ok()) return status;
  }
  return tls.ca_file().empty() ? absl::OkStatus() : CheckCa(field, tls);
}

}  // namespace tandem
