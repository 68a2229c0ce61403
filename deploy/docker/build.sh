#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The steps of the Dockerfile, each a verb, for a Debian 12 root; a test runs them in one.
#
#   deploy/docker/build.sh packages       what Tandem is built with
#   deploy/docker/build.sh programs       configures and builds: target `bundle`, release
#   deploy/docker/build.sh programs-cuda  the same with CUDA kernels; wants nvcc in /usr/local/cuda
#   deploy/docker/build.sh layout OUT     OUT/router and OUT/worker, each as /opt/tandem will be
set -euo pipefail
cd "$(dirname "$0")/../.."

# Programs, the libraries that they need, and the small model.
layout() {
  local out=$1 image program library bundle
  bundle=$(echo build/release/bundle/tandem-*/)
  for image in router worker; do
    mkdir -p "$out/$image/bin" "$out/$image/lib" "$out/$image/models"
    cp -r "$bundle/deploy/models/tiny-v4" "$out/$image/models/"
    cp LICENSE "$out/$image/"
  done
  cp "$bundle"/bin/tandem "$bundle"/bin/tandem-router "$out/router/bin/"
  cp "$bundle"/bin/tandem "$bundle"/bin/tandem-{prefill,decode} "$out/worker/bin/"
  for image in router worker; do
    for program in "$out/$image"/bin/*; do
      # All that is found beside the program: its own libraries and those that these need.
      while read -r library; do
        cp -u "$library" "$out/$image/lib/"
      done < <(ldd "$bundle/bin/$(basename "$program")" | awk '$3 ~ "/bundle/" {print $3}')
    done
  done
}

# What CMake is told beside the preset.
programs() {
  cmake --preset release "$@"
  cmake --build --preset release --parallel "$(nproc)" --target bundle
}

case "${1:-} $#" in
  "packages 1") deploy/scripts/install_packages.sh build ;;
  "programs 1") programs -DTANDEM_CUDA=OFF ;;
  "programs-cuda 1") programs -DTANDEM_CUDA=ON ;;
  "layout 2") layout "$2" ;;
  *) sed -n '5,8s/^# *//p' "$0" >&2; exit 2 ;;
esac
