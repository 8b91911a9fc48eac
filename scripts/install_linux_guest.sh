#!/usr/bin/env bash
# Installs what building the Linux guest needs, where it is missing (as root, from the distribution):
# gcc with the C library's headers, and e2fsprogs. QEMU comes from install_qemu.sh.
# The guest's own packages (kernel, PostgreSQL, redis) are fetched by the build and never installed here.
# `migsim lab build-guest` then builds the image into build/linux-guest (about 340 MB, one to two minutes).
set -euo pipefail

missing_packages() {
  command -v gcc >/dev/null || echo gcc
  [ -e /usr/include/stdio.h ] || echo libc6-dev
  for tool in mke2fs e2fsck resize2fs; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || echo e2fsprogs
  done
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || echo debian-archive-keyring
}

packages=$(missing_packages | sort -u | paste -sd ' ')
[ -n "$packages" ] || exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "Missing here: $packages. They come from the distribution, which needs root and apt-get." \
    "Install them (Debian's names) and run this again." >&2
  exit 3
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update </dev/null
# shellcheck disable=SC2086  # a list of names
apt-get -qq install -y --no-install-recommends $packages </dev/null
