#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The random checkpoints that the goldens speak of: write_random.sh a|b|c|d|e FOLDER
# a: the default sizes. b: nothing is a power of two. c: ratios in another order, one o_group, more
# rows than index_topk.
# d: the smallest of everything, for tests of the loader. e: divisible by eight ranks.
set -eu
here=$(dirname "$(readlink -f "$0")")
folder=$2
# The distribution's Python before another that stands first in PATH and may lack numpy.
python=/usr/bin/python3
"$python" -c 'import numpy' 2>/dev/null || python=python3
write() { exec "$python" -B "$here/random_checkpoint.py" "$folder" "$@"; }
case $1 in
  a) write --seed 1 ;;
  b) write --seed 2 --set hidden_size=384 num_attention_heads=6 o_groups=3 n_routed_experts=10 \
       num_experts_per_tok=3 vocab_size=1408 ;;
  c) write --seed 3 --set hidden_size=256 num_hidden_layers=5 'compress_ratios=[128,4,0,4,128]' \
       index_topk=16 index_n_heads=4 num_attention_heads=4 q_lora_rank=128 o_groups=1 \
       moe_intermediate_size=128 n_routed_experts=8 num_experts_per_tok=2 num_hash_layers=1 \
       vocab_size=1152 ;;
  d) write --seed 4 --set hidden_size=128 num_hidden_layers=3 'compress_ratios=[0,4,128]' \
       index_topk=4 \
       index_n_heads=1 num_attention_heads=1 q_lora_rank=128 o_groups=1 moe_intermediate_size=128 \
       n_routed_experts=2 num_experts_per_tok=1 num_hash_layers=1 vocab_size=64 ;;
  e) write --seed 5 --set hidden_size=256 num_hidden_layers=4 'compress_ratios=[0,4,128,4]' \
       index_topk=16 index_n_heads=4 num_attention_heads=16 q_lora_rank=128 o_groups=8 \
       moe_intermediate_size=1024 n_routed_experts=6 num_experts_per_tok=2 num_hash_layers=1 \
       vocab_size=640 ;;
  *) echo "write_random.sh: first argument must be a, b, c, d or e, got $1" >&2; exit 2 ;;
esac
