#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Goal: the Dockerfile's steps work where it runs them, and what they make runs where it ships.
# Method: debootstrap makes a minimal Debian 12; build.sh runs in a copy of it (packages, programs,
# layout) on a read-only tree; router, prefill and decode of the result answer from a second copy:
# read only, without any package, as 10001, with /dev/shm alone to write to. What it does not show:
# Docker itself, the bases' own contents, the CUDA base.
#
#   root_test.sh SCRATCH      needs root, or sudo; about 3 GB under SCRATCH
#
# Of an earlier run the Debian and its packages serve again; remove SCRATCH for new ones.
set -euo pipefail
cd "$(dirname "$0")/../../.."
tree=$PWD
scratch=$1
mirror=${TANDEM_MIRROR:-http://deb.debian.org/debian}

if [ "$(id -u)" -ne 0 ]; then exec sudo -n "$0" "$@"; fi
if [ "${2:-}" != inside ]; then
  # Mounts of its own, which end with it.
  exec unshare --mount --propagation private "$0" "$scratch" inside
fi

fail() {
  echo "root_test: $*" >&2
  exit 1
}

steps=(programs "layout $tree/build/out")
if [ -e "$scratch/installed" ]; then
  scratch=$(cd "$scratch" && pwd)
  rm -rf "$scratch/ship" "$scratch/build"
  mkdir "$scratch/build"
else
  rm -rf "$scratch"
  mkdir -p "$scratch/build"
  scratch=$(cd "$scratch" && pwd)
  echo "== a Debian 12"
  debootstrap --variant=minbase bookworm "$scratch/debian" "$mirror" \
    >"$scratch/debootstrap.log" 2>&1 ||
    { tail -n 5 "$scratch/debootstrap.log" >&2; fail "no Debian root"; }
  cp -a "$scratch/debian" "$scratch/make"
  steps=(packages "${steps[@]}")
fi
cp -a "$scratch/debian" "$scratch/ship"

# The tree at its own path, so that a compiler cache of this machine serves; its build/ is another.
make_root=$scratch/make
mkdir -p "$make_root$tree" "$make_root/root/.cache/ccache" "$HOME/.cache/ccache"
mount --bind "$tree" "$make_root$tree"
mount -o remount,bind,ro "$make_root$tree"
mount --bind "$scratch/build" "$make_root$tree/build"
mount --bind "$HOME/.cache/ccache" "$make_root/root/.cache/ccache"
mount -t proc proc "$make_root/proc"
cp /etc/resolv.conf "$make_root/etc/resolv.conf"
# The language is the caller's: the compiler cache tells languages apart.
for step in "${steps[@]}"; do
  echo "== build.sh $step"
  # shellcheck disable=SC2086
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG="${LANG:-C.UTF-8}" \
    CCACHE_BASEDIR="$tree" CCACHE_NOHASHDIR=1 \
    chroot "$make_root" "$tree/deploy/docker/build.sh" $step >"$scratch/step.log" 2>&1 ||
    { tail -n 30 "$scratch/step.log" >&2; fail "build.sh $step"; }
  [ "$step" != packages ] || touch "$scratch/installed"
done

# One root for the three: on loopback they would not see who shares it.
ship=$scratch/ship
mkdir -p "$ship/opt/tandem" "$ship/etc/tandem" "$ship/dev/shm"
cp -r "$scratch/build/out/router/." "$ship/opt/tandem/"
cp -r "$scratch/build/out/worker/." "$ship/opt/tandem/"
for role in router prefill decode; do
  sed 's#"deploy/models/#"/opt/tandem/models/#' "$tree/deploy/config/$role.textproto" \
    >"$ship/etc/tandem/$role.textproto"
done
mount --bind "$ship" "$ship"
mount -o remount,bind,ro "$ship"
mount -t tmpfs -o size=1g,mode=1777 tmpfs "$ship/dev/shm"

# Network and process ids of their own, so that ports are free and nothing outlives this.
cat >"$scratch/serve.sh" <<'INSIDE'
set -u
ship=$1
ip link set lo up
mount -t proc proc "$ship/proc"
in_ship() { chroot --userspec=10001:10001 "$ship" /usr/bin/env -i PATH=/opt/tandem/bin "$@"; }
for role in decode prefill router; do
  in_ship "tandem-$role" "--config=/etc/tandem/$role.textproto" &
done
for _ in $(seq 600); do
  in_ship tandem health --target=127.0.0.1:8440 >/dev/null 2>&1 && break
  sleep 0.2
done
in_ship tandem generate --target=127.0.0.1:8440 --temperature=0 --timeout=120s \
  --prompt="Sam has 3 pens and gets 4 more. How many pens does Sam have now?" >"$2"
INSIDE
echo "== three processes in a bare root"
unshare --net --pid --fork --kill-child bash "$scratch/serve.sh" "$ship" "$scratch/answer" \
  >"$scratch/serve.log" 2>&1 || { tail -n 20 "$scratch/serve.log" >&2; fail "no answer"; }
grep -q . "$scratch/answer" || fail "an empty answer"
! grep -q pool-not-shared "$scratch/serve.log" || fail "the KV pool is not in /dev/shm"
echo "router $(du -sm "$scratch/build/out/router" | cut -f1) MB," \
  "worker $(du -sm "$scratch/build/out/worker" | cut -f1) MB: $(cat "$scratch/answer")"
