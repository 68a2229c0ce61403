#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One router, some prefill and some decode workers on this machine, on loopback.
#
#   deploy/scripts/local.sh up --model DIR [--prefill N] [--decode N] [--port P] [--pages N] \
#     [--engine model|sim] [--device cpu|cuda] [--tensor-parallel N] [--slots N] \
#     [--decode-gpus LIST] [--prefill-gpus LIST] [--load-format checkpoint|dummy] \
#     [--start-timeout SECONDS]
#   deploy/scripts/local.sh status
#   deploy/scripts/local.sh down
#
# `up` also takes --bin DIR (default bin/ of a bundle, else build/release/bin), and --router-config,
# --prefill-config and --decode-config TEXT, fields that are added to the config of each process of
# that kind; `--engine sim` runs workers that compute nothing and repeat prompts
# (deploy/config/decode_sim.textproto); `--load-format dummy` makes weights up from config.json
# alone; --slots is how many sequences a decode worker holds.
#
# `--device cuda` needs a build with CUDA. It runs every worker on GPU 0, and on those that follow
# with --tensor-parallel. `--decode-gpus 0,1 --prefill-gpus 2,3` names a role's GPUs: each of its
# workers gets as many of them in turn, one a rank. One decode worker and prefill workers on the
# same GPUs have one copy of the weights; of others each has its own, and rows are copied.
#
# Each verb also takes --dir STATE (default build/local: configs, logs, process ids; one cluster a
# folder). Without --port the router gets a free port; the workers always do. `up` returns when
# every process answers its health check and the router is connected to every worker, or stops all
# of them again and shows why, if one ends or takes longer than --start-timeout (default 300, with
# `--device cuda` 1800). `status` exits with 0 when all serve. `down` sends SIGTERM, waits for
# running answers to drain, and kills what is left then. Repeating a verb is harmless; `up` with
# other arguments says what differs.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

state="$root/build/local"
bin="$root/bin"
[ -x "$bin/tandem" ] || bin="$root/build/release/bin"
model="" port="" pages=256 slots=64 engine=model device=cpu ranks=1 load_format=checkpoint
declare -A added=([router]="" [prefill]="" [decode]="") gpus=([prefill]="" [decode]="")
prefill=1 decode=1
start_seconds=""
drain_seconds=35

fail() {
  echo "local.sh: $*" >&2
  exit 1
}

usage() {
  sed -n '5,10s/^# *//p' "$0" >&2
  exit 2
}

number() {  # flag value most
  [[ "$2" =~ ^[1-9][0-9]{0,8}$ ]] && [ "$2" -le "$3" ] ||
    fail "$1: $2 is no whole number from 1 to $3"
}

# --- processes: `name pid start-time grpc-port metrics-port`, one a line, in $state/processes ---

# The kernel's start time of a process: a pid that was given to another process is not ours.
start_time() {
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  # Field 22, counted behind the name, which may hold spaces; a zombie is not alive.
  read -ra stat <<<"${stat##*) }"
  [ "${stat[0]}" != Z ] && echo "${stat[19]}"
}

alive() {
  [ "$(start_time "$1" || true)" = "$2" ]
}

health() {
  "$(<"$state/bin")/tandem" health --target "127.0.0.1:$1" 2>/dev/null || true
}

any_alive() {
  local name pid start rest
  while read -r name pid start rest; do
    alive "$pid" "$start" && return 0
  done < <(cat "$state/processes" 2>/dev/null)
  return 1
}

listened_on() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Outside of the range from which the kernel takes the ports of outgoing connections: a process that
# is away for a moment finds its own free when it comes back.
free_ports() {  # how many, none of them $port
  local outgoing _ candidate
  read -r outgoing _ </proc/sys/net/ipv4/ip_local_port_range
  [ "$outgoing" -ge 21000 ] || outgoing=65536
  local -A taken=()
  while [ ${#taken[@]} -lt "$1" ]; do
    candidate=$((20000 + SRANDOM % (outgoing - 20000)))
    [ "$candidate" != "$port" ] && [ -z "${taken[$candidate]:-}" ] || continue
    listened_on "$candidate" || taken[$candidate]=yes
  done
  echo "${!taken[@]}"
}

# --- up ---

quoted() {
  local text=${1//\\/\\\\}
  echo "\"${text//\"/\\\"}\""
}

# The GPUs of one worker: its part of its role's, else those from 0 on.
gpus_of() {  # name
  local role=${1%%-*} listed each
  [ -n "${gpus[$role]}" ] || { seq -s ' ' 0 $((ranks - 1)); return; }
  IFS=, read -ra listed <<<"${gpus[$role]}"
  each=$((${#listed[@]} / ${!role}))
  echo "${listed[@]:${1##*-} * each:each}"
}

ranks_of() {  # name
  local own
  [ -n "${gpus[${1%%-*}]}" ] || { echo "tensor_parallel: $ranks"; return; }
  read -ra own < <(gpus_of "$1")
  echo "tensor_parallel: ${#own[@]} ${own[*]/#/gpus: }"
}

# How many decode workers have the GPUs of this prefill worker.
beside() {  # name
  local own i many=0
  own=$(gpus_of "$1")
  for ((i = 0; i < decode; ++i)); do
    [ "$(gpus_of "decode-$i")" != "$own" ] || many=$((many + 1))
  done
  echo "$many"
}

shares_weights() {
  # Of several decode workers each would hold its own, and prefill would end with any one of them.
  [ "$device" = cuda ] && [ "$decode" -eq 1 ] || return 1
  local i
  for ((i = 0; i < prefill; ++i)); do
    [ "$(beside "prefill-$i")" -eq 1 ] || return 1
  done
}

# Where rows go to other GPUs: how, and room for whole prompts on their way, as many tokens as the
# decode workers take and the models read (1M).
hand_off() {  # name of a prefill worker
  local near room=$((pages < 256 ? 256 : pages > 4096 ? 4096 : pages))
  near=$(beside "$1")
  [ "$near" -lt "$decode" ] || return 0
  [ "$near" -gt 0 ] || [[ "${added[prefill]}" == *kv_channel_kind* ]] ||
    echo "kv_channel_kind: KV_CHANNEL_KIND_IPC"
  [[ "${added[prefill]}" == *staging_pages* ]] || echo "staging_pages: $room"
}

worker_config() {  # name grpc-port metrics-port
  echo "worker {"
  echo "  listen: \"127.0.0.1:$2\""
  echo "  metrics_listen: \"127.0.0.1:$3\""
  echo "  model_dir: $(quoted "$model")"
  echo "  engine: ENGINE_${engine^^}"
  echo "  device: DEVICE_${device^^}"
  echo "  $(ranks_of "$1")"
  [ "$engine" = sim ] || echo "  load_format: LOAD_FORMAT_${load_format^^}"
  ! shares_weights || echo "  weights: WEIGHTS_SHARED"
  echo "}"
  case "$1" in
    decode*) echo "pages: $pages slots: $slots batch_max: $slots" ;;
    prefill*)
      echo 'decode_workers_allowed: "127.0.0.1:*"'
      echo "requests_max: $((slots > 256 ? slots : 256))"
      hand_off "$1"
      ;;
  esac
  echo "${added[${1%%-*}]}"
}

router_config() {  # grpc-port metrics-port, then the workers as name:port
  echo "listen: \"127.0.0.1:$1\""
  echo "metrics_listen: \"127.0.0.1:$2\""
  echo "model_dir: $(quoted "$model")"
  local worker
  for worker in "${@:3}"; do
    case "$worker" in
      prefill*) echo "prefill_workers: \"127.0.0.1:${worker#*:}\"" ;;
      decode*) echo "decode_workers: \"127.0.0.1:${worker#*:}\"" ;;
    esac
  done
  echo "${added[router]}"
}

launch() {  # name grpc-port metrics-port; its config is written
  local name=$1 program="$bin/tandem-${1%%-*}" pid
  # Its own session: a Ctrl-C meant for the caller does not reach it. The lock is not inherited.
  setsid "$program" --config "$state/$name.textproto" </dev/null >"$state/$name.log" 2>&1 9>&- &
  pid=$!
  echo "$name $pid $(start_time "$pid" || echo gone) $2 $3" >>"$state/processes"
}

launch_all() {
  local names=() workers=() i ports name
  for ((i = 0; i < decode; ++i)); do names+=("decode-$i"); done
  for ((i = 0; i < prefill; ++i)); do names+=("prefill-$i"); done
  [ -z "$port" ] || ! listened_on "$port" || fail "port $port on 127.0.0.1 is in use"
  read -ra ports < <(free_ports $((2 * (prefill + decode) + 2)))
  ports[0]=${port:-${ports[0]}}
  rm -f "$state"/*.log "$state"/*.textproto
  : >"$state/processes"
  (cd "$bin" && pwd) >"$state/bin"
  asked >"$state/asked"
  for i in "${!names[@]}"; do
    name=${names[i]}
    worker_config "$name" "${ports[2 + 2 * i]}" "${ports[3 + 2 * i]}" >"$state/$name.textproto"
    workers+=("$name:${ports[2 + 2 * i]}")
    launch "$name" "${ports[2 + 2 * i]}" "${ports[3 + 2 * i]}"
  done
  router_config "${ports[0]}" "${ports[1]}" "${workers[@]}" >"$state/router.textproto"
  launch router "${ports[0]}" "${ports[1]}"
}

# A router serves once it has one pair of workers; this asks for all of them.
sees_all_workers() {  # name metrics-port
  [ "$1" = router ] || return 0
  local line up=0
  { exec 3<>"/dev/tcp/127.0.0.1/$2"; } 2>/dev/null || return 1
  printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
  while IFS= read -r -t 2 line <&3; do
    [[ "$line" != tandem_workers_up\{* ]] || up=$((up + ${line##* }))
  done
  exec 3>&-
  [ "$up" -eq $((prefill + decode)) ]
}

# Waits until all serve; names the process that ended or never came.
wait_serving() {
  local until=$((SECONDS + start_seconds)) name pid start grpc metrics
  while read -r name pid start grpc metrics; do
    until [ "$(health "$grpc")" = SERVING ] && sees_all_workers "$name" "$metrics"; do
      alive "$pid" "$start" || { echo "$name ended: see $state/$name.log"; return 1; }
      [ $SECONDS -lt $until ] || { echo "$name does not serve after $start_seconds s"; return 1; }
      sleep 0.1
    done
  done <"$state/processes"
}

# All that was asked for but the port, a line each; $state/asked has that of what runs.
asked() {
  local name
  for name in model engine device ranks load_format prefill decode pages slots; do
    printf '%s: %s\n' "$name" "${!name}"
  done
  for name in prefill decode; do echo "$name GPUs: ${gpus[$name]}"; done
  for name in router prefill decode; do printf '%s config: %q\n' "$name" "${added[$name]}"; done
  echo "bin: $(cd "$bin" && pwd)"
}

same_as_asked() {  # else the difference is shown: < runs, > is asked for
  diff "$state/asked" <(asked) >&2 &&
    { [ -z "$port" ] || grep -q "^router .* $port [0-9]*$" "$state/processes"; }
}

up() {
  [ -n "$model" ] || usage
  [ -f "$model/config.json" ] || fail "--model: $model holds no config.json"
  model=$(cd "$model" && pwd)
  number --prefill "$prefill" 64
  number --decode "$decode" 64
  number --pages "$pages" 16777216
  number --slots "$slots" 65536
  [[ "$ranks" =~ ^[1248]$ ]] || fail "--tensor-parallel: $ranks is none of 1, 2, 4, 8"
  local role commas many
  for role in decode prefill; do
    [ -n "${gpus[$role]}" ] || continue
    [ "$device" = cuda ] || fail "--$role-gpus: --device cuda has GPUs"
    [[ "${gpus[$role]}" =~ ^[0-9]{1,3}(,[0-9]{1,3})*$ ]] ||
      fail "--$role-gpus: ${gpus[$role]} is no list of GPUs"
    commas=${gpus[$role]//[^,]/} many=$((${#commas} + 1))
    [[ $((many % ${!role})) -eq 0 && $((many / ${!role})) =~ ^[1248]$ ]] ||
      fail "--$role-gpus: ${gpus[$role]} has no 1, 2, 4 or 8 for each of --$role ${!role}"
  done
  case "$engine" in model | sim) ;; *) fail "--engine: $engine is neither model nor sim" ;; esac
  case "$device" in cpu | cuda) ;; *) fail "--device: $device is neither cpu nor cuda" ;; esac
  case "$load_format" in
    checkpoint | dummy) ;;
    *) fail "--load-format: $load_format is neither checkpoint nor dummy" ;;
  esac
  [ -z "$port" ] || number --port "$port" 65535
  local why
  for role in "" -router -prefill -decode; do
    [ -x "$bin/tandem$role" ] || fail "no $bin/tandem$role: cmake --build --preset release"
  done
  if any_alive; then
    status || fail "part of it is down: local.sh down, then up"
    same_as_asked || fail "already up, but not as asked for: local.sh down, then up"
    echo "already up"
    return 0
  fi
  trap 'down >/dev/null; exit 130' INT TERM
  launch_all
  if ! why=$(wait_serving); then
    tail -n 5 "$state/${why%% *}.log" >&2 || true
    down >/dev/null
    fail "$why"
  fi
  status
}

# --- status, down ---

status() {
  local name pid start grpc metrics answer all=0
  [ -s "$state/processes" ] || { echo "down"; return 1; }
  printf '%-10s %8s %21s %21s  %s\n' process pid grpc metrics health
  while read -r name pid start grpc metrics; do
    if alive "$pid" "$start"; then answer=$(health "$grpc"); else answer=DEAD pid=-; fi
    [ "$answer" = SERVING ] || all=1
    printf '%-10s %8s %21s %21s  %s\n' \
      "$name" "$pid" "127.0.0.1:$grpc" "127.0.0.1:$metrics" "$answer"
  done <"$state/processes"
  return $all
}

# SIGTERM to one role, then patience; whoever outlives it is killed.
stop_role() {
  local role=$1 until=$((SECONDS + drain_seconds)) name pid start rest
  local ours=()
  while read -r name pid start rest; do
    [[ "$name" == "$role"* ]] && alive "$pid" "$start" && ours+=("$pid $start $name")
  done <"$state/processes"
  for rest in "${ours[@]}"; do kill -TERM "${rest%% *}" 2>/dev/null || true; done
  for rest in "${ours[@]}"; do
    read -r pid start name <<<"$rest"
    while alive "$pid" "$start" && [ $SECONDS -lt $until ]; do sleep 0.05; done
    if alive "$pid" "$start"; then
      echo "$name did not end in $drain_seconds s: killed" >&2
      kill -KILL "$pid" 2>/dev/null || true
    fi
  done
}

down() {
  [ -s "$state/processes" ] || { echo "down"; return 0; }
  local role
  # The door first, so that running requests end while their workers still work.
  for role in router prefill decode; do stop_role "$role"; done
  rm -f "$state/processes"
  echo "down"
}

verb=${1:-}
shift || true
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage
  case "$1" in
    --model) model=$2 ;;
    --prefill) prefill=$2 ;;
    --decode) decode=$2 ;;
    --port) port=$2 ;;
    --pages) pages=$2 ;;
    --router-config) added[router]=$2 ;;
    --prefill-config) added[prefill]=$2 ;;
    --decode-config) added[decode]=$2 ;;
    --engine) engine=$2 ;;
    --device) device=$2 ;;
    --tensor-parallel) ranks=$2 ;;
    --prefill-gpus) gpus[prefill]=$2 ;;
    --decode-gpus) gpus[decode]=$2 ;;
    --load-format) load_format=$2 ;;
    --slots) slots=$2 ;;
    --start-timeout) start_seconds=$2 ;;
    --dir) state=$2 ;;
    --bin) bin=$2 ;;
    *) usage ;;
  esac
  shift 2
done
case "$verb" in up | down | status) ;; *) usage ;; esac
# Weights of full size come from a disk or a network: 156 GB at 0.5 GB/s take five minutes.
: "${start_seconds:=$([ "$verb $device" = "up cpu" ] && echo 300 || echo 1800)}"
number --start-timeout "$start_seconds" 999999
mkdir -p "$state"
state=$(cd "$state" && pwd)
if [ "$verb" != status ]; then
  # Two verbs that change one folder wait for each other.
  exec 9>"$state/lock"
  flock -w $((start_seconds + drain_seconds)) 9 || fail "$state is locked by another local.sh"
fi
"$verb"
