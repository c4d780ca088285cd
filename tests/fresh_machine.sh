#!/usr/bin/env bash
# Runs the README's commands on a machine that has nothing: a minimal Debian 12 in a folder, made by mmdebstrap from this
# machine's own package sources. Your own machine has things that a user's has not; this one has not.
#
#   tests/fresh_machine.sh                          ./creelw run examples/configs/clip_digits.yaml, then ./creelw test
#   tests/fresh_machine.sh 'COMMAND' ['COMMAND'…]   other commands, in a clone of HEAD
#
# Each runs as root, then once more as a user without rights and without a network. Needs root and mmdebstrap, 8 GB under
# TMPDIR, and as long as the downloads and the build take (20 minutes on 2 cores).
# KEEP=1 keeps the folder. The last line says what passed.
set -euo pipefail

source_dir=$(git -C "$(dirname "$(readlink -f "$0")")" rev-parse --show-toplevel)
[[ $EUID == 0 ]] || { echo "fresh_machine: needs root, for chroot and mounts" >&2; exit 3; }
command -v mmdebstrap >/dev/null || { echo "fresh_machine: run: apt-get install -y mmdebstrap" >&2; exit 3; }

# In a mount and process namespace of our own: whatever ends this script takes the mounts and all processes with it.
if [[ ${1:-} != --inside ]]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/creel-fresh.XXXXXX")
  trap '[[ -n ${KEEP:-} ]] || rm -rf --one-file-system "$work"' EXIT
  unshare --mount --pid --fork --kill-child "$(readlink -f "$0")" --inside "$work" "$@"
  exit
fi
work=$2
shift 2
machine=$work/machine
(($#)) || set -- './creelw run examples/configs/clip_digits.yaml' './creelw test'

say() { printf '\n=== %s\n' "$*"; }

say "a minimal Debian in $machine"
mapfile -t sources < <(find /etc/apt -maxdepth 2 \( -name 'debian.sources' -o -name 'sources.list' \) -size +0)
mmdebstrap --quiet --variant=minbase --skip=check/empty bookworm "$machine" "${sources[@]}"
mount -t proc proc "$machine/proc"
mount -t sysfs -o ro sysfs "$machine/sys"
mount --rbind /dev "$machine/dev"
mount -t tmpfs -o mode=1777 shm "$machine/dev/shm"

# How this machine reaches the network, and nothing else of it.
cp --remove-destination /etc/resolv.conf /etc/hosts "$machine/etc/"
cp -r /etc/apt/apt.conf.d /etc/apt/auth.conf.d "$machine/etc/apt/" 2>/dev/null || true
[[ ! -e /etc/pip.conf ]] || cp /etc/pip.conf "$machine/etc/"
network=()
while IFS= read -r name; do network+=("$name=${!name}"); done < <(compgen -e | grep -E '^(PIP_.*|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY)$' || true)
# Certificates that this machine trusts, at a place of their own: the package ca-certificates writes the usual one anew.
certificates=${PIP_CERT:-${SSL_CERT_FILE:-}}
if [[ -n $certificates && -e $certificates ]]; then
  install -m 644 "$certificates" "$machine/etc/this-machine-trusts.crt"
  network+=(PIP_CERT=/etc/this-machine-trusts.crt)
fi

# Two users: root, who may install packages, and one who may nothing. They share a home, and so what was downloaded.
chroot "$machine" useradd --create-home --home-dir /home/someone someone
git clone -q "$source_dir" "$machine/home/someone/creel"
on_machine() { # on_machine USER COMMAND
  chroot --userspec="$1" "$machine" /usr/bin/env -i "${network[@]}" HOME=/home/someone LANG=C.UTF-8 \
    PATH=/usr/sbin:/usr/bin:/sbin:/bin ${CI:+CI=$CI} bash -c "cd /home/someone/creel && $2" </dev/null
}

passed=0 failed=0
try() { # try TITLE COMMAND…
  local title=$1 started=$SECONDS code=0
  shift
  say "$title"
  "$@" || code=$?
  say "$title: exit code $code after $((SECONDS - started)) s"
  if ((code == 0)); then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}
for command; do try "$command" on_machine root "$command"; done

# Nothing is missing any more, so the same commands need neither the network nor root.
chroot "$machine" chown -R someone:someone /home/someone
offline() { unshare --net bash -c "$(declare -p machine network); $(declare -f on_machine); ip link set lo up; on_machine someone \"\$1\"" - "$1"; }
for command; do
  [[ $command != *'creelw run '* ]] || command+=' --overwrite'
  try "$command (unprivileged, no network)" offline "$command"
done
echo "$passed passed, $failed failed"
((failed == 0))
