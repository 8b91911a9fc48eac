#!/usr/bin/env bash
# Installs what the benchmarks' SimGrid driver is compiled from, where it is missing (as root, from the distribution):
# SimGrid with its headers, and g++. No test needs it: `make bench` without it leaves the figures beside SimGrid out.
set -euo pipefail

missing_packages() {
  command -v g++ >/dev/null || echo g++
  [ -e /usr/include/simgrid/plugins/live_migration.h ] || echo libsimgrid-dev
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
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update </dev/null
  # shellcheck disable=SC2086  # a list of names
  apt-get -qq install -y --no-install-recommends $packages </dev/null
}

install_packages
still=$(missing_packages | paste -sd ' ')
if [ -n "$still" ]; then
  echo "Installed, and still missing: $still. The driver is written for Debian 12's SimGrid 3.32." >&2
  exit 3
fi
awk '/^#define SIMGRID_VERSION_M(AJOR|INOR) / { number = number "." $3 } END { print "SimGrid " substr(number, 2) }' \
  /usr/include/simgrid/version.h
