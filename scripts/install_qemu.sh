#!/usr/bin/env bash
# Installs what the live tests need, where it is missing:
#   - from the distribution (as root): QEMU, SeaBIOS, make, gcc, binutils
#   - QEMU 10.0 beside it, unpacked from Debian 12's backports into build/qemu-10 (needs no root).
# build/qemu-10/command then holds the command line that starts it; make and pytest read it from there.
# `scripts/install_qemu.sh 11` unpacks QEMU 11.1 with its libraries, from Debian 13's backports, into build/qemu-11;
# experiments that compare releases use it, where MIGSIM_QEMU_11 or build/qemu-11/command names it.
set -euo pipefail
cd "$(dirname "$0")/.."

apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" </dev/null; }

missing_packages() {
  command -v qemu-system-x86_64 >/dev/null || echo qemu-system-x86
  [ -e /usr/share/seabios/bios-256k.bin ] || echo seabios
  command -v make >/dev/null || echo make
  command -v gcc >/dev/null || echo gcc
  command -v ld >/dev/null || echo binutils
  python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

install_packages() {
  local packages
  packages=$(missing_packages | paste -sd ' ')
  [ -n "$packages" ] || return 0
  if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "Missing here: $packages. They come from the distribution, which needs root and apt-get." \
      "Install them (Debian's names) and run this again." >&2
    exit 3
  fi
  apt_get update
  # shellcheck disable=SC2086  # a list of names
  apt_get install -y --no-install-recommends $packages
}

# Prints the address that this machine takes its Debian packages from.
debian_address() {
  local file
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -e "$file" ] && awk -v suite="$1" '
      /^URIs:/ { address = $2 }
      /^Suites:/ { found = 0; for (i = 2; i <= NF; i++) if ($i == suite) found = 1 }
      /^[[:space:]]*$/ { if (found && address) { print address; exit } found = 0; address = "" }
      END { if (found && address) print address }' "$file"
  done
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -e "$file" ] && sed -nE "s/^deb +(\[[^]]*\] +)?([^ ]+) +$1 .*/\2/p" "$file"
  done
  return 0
}

unpack_qemu_10() {
  local here=$PWD/build/qemu-10 codename address options
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  address=$(debian_address "$codename" | head -n 1)
  if [ "$codename" != bookworm ] || [ -z "$address" ]; then
    echo "QEMU 10.0 is unpacked from Debian 12's backports, and this is '$codename'." \
      "Set MIGSIM_QEMU_10 to the command that starts a QEMU 10.0." >&2
    exit 3
  fi
  rm -rf "$here"
  mkdir -p "$here/lists/partial" "$here/cache/archives/partial" "$here/deb" "$here/root"
  printf 'Types: deb\nURIs: %s\nSuites: %s-backports\nComponents: main\nSigned-By: %s\n' "$address" "$codename" \
    /usr/share/keyrings/debian-archive-keyring.gpg >"$here/backports.sources"
  options=(-o "Dir::Etc::sourcelist=$here/backports.sources" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$here/lists" -o "Dir::Cache=$here/cache" -o "APT::Sandbox::User=$(id -un)")
  apt_get "${options[@]}" update
  (cd "$here/deb" && apt_get "${options[@]}" -t "$codename-backports" \
    download qemu-system-x86 qemu-system-common qemu-system-data)
  for package in "$here"/deb/*.deb; do dpkg -x "$package" "$here/root"; done
  rm -rf "$here/deb" "$here/lists" "$here/cache"
  printf '%q -L %q -L /usr/share/seabios\n' "$here/root/usr/bin/qemu-system-x86_64" "$here/root/usr/share/qemu" \
    >"$here/command.new"
  bash -c "$(cat "$here/command.new") --version" >/dev/null
  mv "$here/command.new" "$here/command"
}

unpack_qemu_11() {
  local here=$PWD/build/qemu-11 root=$PWD/build/qemu-11/root codename address options
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  address=$(debian_address "$codename" | head -n 1)
  if [ -z "$address" ]; then
    echo "QEMU 11.1 is unpacked from Debian 13's backports, and this machine names no Debian archive." \
      "Set MIGSIM_QEMU_11 to the command that starts a QEMU 11.1." >&2
    exit 3
  fi
  rm -rf "$here"
  mkdir -p "$here/lists/partial" "$here/cache/archives/partial" "$root"
  printf 'Types: deb\nURIs: %s\nSuites: trixie trixie-backports\nComponents: main\nSigned-By: %s\n' "$address" \
    /usr/share/keyrings/debian-archive-keyring.gpg >"$here/backports.sources"
  # Nothing counts as installed, so that every library comes along.
  options=(-o "Dir::Etc::sourcelist=$here/backports.sources" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$here/lists" -o Dir::State::status=/dev/null -o "Dir::Cache=$here/cache"
    -o "APT::Sandbox::User=$(id -un)")
  apt_get "${options[@]}" update
  apt_get "${options[@]}" -y --no-install-recommends --download-only -t trixie-backports install qemu-system-x86 seabios
  for package in "$here"/cache/archives/*.deb; do dpkg -x "$package" "$root"; done
  rm -rf "$here/lists" "$here/cache"
  printf '%q --library-path %q %q -L %q -L %q\n' "$root/usr/lib64/ld-linux-x86-64.so.2" \
    "$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/qemu-system-x86_64" "$root/usr/share/qemu" \
    "$root/usr/share/seabios" >"$here/command.new"
  bash -c "$(cat "$here/command.new") --version" | head -n 1
  mv "$here/command.new" "$here/command"
}

if [ "${1:-}" = 11 ]; then
  unpack_qemu_11
  exit
fi
install_packages
if [ -z "${MIGSIM_QEMU_10:-}" ]; then
  bash -c "$(cat build/qemu-10/command 2>/dev/null || echo false) --version" >/dev/null 2>&1 || unpack_qemu_10
fi
for command in qemu-system-x86_64 "${MIGSIM_QEMU_10:-$(cat build/qemu-10/command)}"; do
  bash -c "$command --version" | head -n 1
done
