// SPDX-License-Identifier: Apache-2.0
#include "tests/services/runtime/rpc/tls/certificates.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "services/runtime/base/check.h"

namespace tandem {
namespace {

using Key = std::unique_ptr<EVP_PKEY, FreeOpenssl>;
using Certificate = std::unique_ptr<X509, FreeOpenssl>;

Key NewKey() {
  return Key(EVP_EC_gen("P-256"));
}

// What `write` writes, as text.
template <typename Write>
std::string Text(Write write) {
  BIO* bio = BIO_new(BIO_s_mem());
  CHECK(write(bio) == 1);
  char* data = nullptr;
  const int64_t size = BIO_get_mem_data(bio, &data);
  std::string out(data, static_cast<size_t>(size));
  BIO_free(bio);
  return out;
}

std::string Pem(X509* certificate) {
  return Text([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

void Extend(X509* certificate, int nid, const char* value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value);
  CHECK(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

struct Wanted {
  std::string name;
  absl::Duration valid;
  bool authority = false;
};

// Signed by `issuer`'s key; null: by its own.
Certificate Make(const Wanted& wanted, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key) {
  Certificate out(X509_new());
  static int64_t serial = 1;
  X509_set_version(out.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(out.get()), serial++);
  X509_gmtime_adj(X509_getm_notBefore(out.get()), -2 * 24 * 3600);
  X509_gmtime_adj(X509_getm_notAfter(out.get()), absl::ToInt64Seconds(wanted.valid));
  X509_set_pubkey(out.get(), key);
  X509_NAME* subject = X509_get_subject_name(out.get());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const uint8_t*>(wanted.name.c_str()), -1, -1, 0);
  X509_set_issuer_name(out.get(), X509_get_subject_name(issuer == nullptr ? out.get() : issuer));
  if (wanted.authority) {
    Extend(out.get(), NID_basic_constraints, "critical,CA:TRUE");
  } else {
    Extend(out.get(), NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
  }
  CHECK(X509_sign(out.get(), issuer == nullptr ? key : issuer_key, EVP_sha256()) > 0);
  return out;
}

}  // namespace

Authority::Authority(const std::string& name)
    : key_(NewKey()),
      cert_(Make({.name = name, .valid = absl::Hours(24), .authority = true}, key_.get(), nullptr,
                 nullptr)) {}

std::string Authority::cert() const {
  return Pem(cert_.get());
}

Identity Authority::Sign(const std::string& name, absl::Duration valid) const {
  const Key key = NewKey();
  const Certificate cert = Make({.name = name, .valid = valid}, key.get(), cert_.get(), key_.get());
  return {.cert = Pem(cert.get()), .key = Text([&](BIO* bio) {
                                     return PEM_write_bio_PrivateKey(bio, key.get(), nullptr,
                                                                     nullptr, 0, nullptr, nullptr);
                                   })};
}

}  // namespace tandem
