// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/rpc/tls/credentials.h"

#include <memory>

#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/rpc/tls/pem_files.h"

namespace tandem {
namespace {

using grpc::experimental::FileWatcherCertificateProvider;

auto Watch(const v1::Tls& tls) {
  return std::make_shared<FileWatcherCertificateProvider>(
      tls.key_file(), tls.cert_file(), tls.ca_file(),
      static_cast<unsigned int>(absl::ToInt64Seconds(kTlsReload)));
}

}  // namespace

absl::StatusOr<ServerCredentials> MakeServerCredentials(absl::string_view field,
                                                        const v1::Tls* tls) {
  if (tls == nullptr) return grpc::InsecureServerCredentials();
  RETURN_IF_ERROR(CheckPemFiles(field, *tls, TlsSide::kServer));
  grpc::experimental::TlsServerCredentialsOptions options(Watch(*tls));
  options.watch_identity_key_cert_pairs();
  if (!tls->ca_file().empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

absl::StatusOr<ChannelCredentials> MakeChannelCredentials(absl::string_view field,
                                                          const v1::Tls* tls) {
  if (tls == nullptr) return grpc::InsecureChannelCredentials();
  RETURN_IF_ERROR(CheckPemFiles(field, *tls, TlsSide::kClient));
  grpc::experimental::TlsChannelCredentialsOptions options;
  if (!tls->ca_file().empty() || !tls->cert_file().empty()) {
    options.set_certificate_provider(Watch(*tls));
  }
  if (!tls->ca_file().empty()) options.watch_root_certs();
  if (!tls->cert_file().empty()) options.watch_identity_key_cert_pairs();
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace tandem
