#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The other half of pack.sh: puts its archive into build/gpu of this copy of the source folder, and
# the source folder where the programs were told it is.
#
#   tests/gpu/unpack.sh ARCHIVE.tar.xz
set -euo pipefail
archive=$(readlink -f "$1")
cd "$(dirname "$0")/../.."
mkdir -p build/gpu/bin build/gpu/golden
xz -dc "$archive" | tar -C build/gpu/bin -xf -
mv build/gpu/bin/lib build/gpu/lib
source=$(<build/gpu/bin/source)
if [ ! -e "$source" ]; then
  mkdir -p "$(dirname "$source")"
  ln -s "$PWD" "$source"
fi
for letter in a b c d e; do
  tests/golden/model/write_random.sh $letter build/gpu/golden/random-$letter &
done
wait
sums=$PWD/tests/golden/model/random_checkpoints.sha256
(cd build/gpu/golden && sha256sum --check --quiet "$sums")
