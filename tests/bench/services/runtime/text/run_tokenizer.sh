#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run_tokenizer.sh [BUILD]: compares Tandem's tokenizer with Hugging Face's on one core. BUILD is a
# release build folder (default build/release), into which npm brings Hugging Face's library and
# DeepSeek's vocabulary. Prints a Markdown table.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../../.." && pwd)
build=${1:-$root/build/release}
"$root/tests/services/runtime/text/fetch_vocabulary.sh" "$build/vocabulary/deepseek_v3"
export NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}"
npm install --ignore-scripts --silent --no-save --prefix "$build/npm" tokenizers@0.23.2 >/dev/null
taskset -c 0 node "$here/compare_tokenizers.mjs" \
  "$build/bin/tokenizer_bench" "$build/vocabulary/deepseek_v3/tokenizer.json" "$build/npm"
