#!/bin/busybox sh
# First program of the guest: loads what the disk needs, mounts it, and goes on there.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do
  /bin/busybox insmod "/modules/$module.ko"
done
mode=ro
/bin/busybox grep -q 'migsim\.prepare' /proc/cmdline && mode=rw
waited=0
until [ -b /dev/vda ] || [ $waited -ge 50 ]; do
  waited=$((waited + 1))
  /bin/busybox sleep 0.1
done
if ! /bin/busybox mount -t ext4 -o "$mode,noatime" /dev/vda /sysroot; then
  echo "migsim-linux error no root disk: virtio, raw, the first one" >/dev/ttyS1
  exec /bin/busybox sleep 100000000
fi
/bin/busybox umount /proc
/bin/busybox mount --move /dev /sysroot/dev
exec /bin/busybox switch_root /sysroot /migsim/boot.sh
