#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# First process of a lab host: puts a memory overlay over the file system that it is to have, and goes on there.
# LAB_ROOT, LAB_INIT and LAB_SETTINGS come from lab/host/machine.py.
. /settings
B=/bin/busybox
set -e
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
while read -r module; do $B insmod "/modules/$module"; done < /modules/order
$B mkdir /lower /memory /new
# cache=loose: the machine's own programs and libraries do not change below a running host.
$B mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose root /lower
$B mount -t tmpfs -o size=75% tmpfs /memory
$B mkdir /memory/upper /memory/work
$B mount -t overlay -o lowerdir=/lower,upperdir=/memory/upper,workdir=/memory/work overlay /new
# Another system does not have the checkout.
if [ ! -e "/new$LAB_SETTINGS" ]; then
  $B mkdir -p "/new$LAB_ROOT"
  $B mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose checkout "/new$LAB_ROOT"
fi
for directory in dev proc sys; do $B mount --move /$directory /new/$directory; done
exec $B switch_root /new /bin/bash "$LAB_INIT" "$LAB_SETTINGS"
