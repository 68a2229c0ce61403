// SPDX-License-Identifier: Apache-2.0
// What can be wrong with the files of a Tls config, said at start in one line instead of at every
// handshake. Pure but for the files that it reads.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tandem/v1/config.pb.h"

namespace tandem {

enum class TlsSide {
  kServer,  // needs a certificate
  kClient,  // shows one if it has one
};

// INVALID_ARGUMENT or NOT_FOUND names the field (after `field` and a dot), the file and what is
// wrong: absent, no PEM, certificate and key no pair, expired.
absl::Status CheckPemFiles(absl::string_view field, const v1::Tls& tls, TlsSide side);

}  // namespace tandem
