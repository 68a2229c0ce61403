#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what Tandem builds and tests with on Debian 12. Run as root or with sudo at hand; does nothing when all is there.
set -euo pipefail

packages=(
  g++ cmake ninja-build ccache pkg-config git ca-certificates
  libgrpc++-dev protobuf-compiler-grpc protobuf-compiler libprotobuf-dev libabsl-dev
  prometheus-cpp-dev nlohmann-json3-dev libpcre2-dev libeigen3-dev
  libgtest-dev libgmock-dev libbenchmark-dev
  python3 python3-numpy universal-ctags clang-format curl
)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
export DEBIAN_FRONTEND=noninteractive
echo "installing: ${missing[*]}" >&2
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
