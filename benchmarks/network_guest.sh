#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# The init of the guest of benchmarks/network: it reads each stick that it is given, and prints how long that took.
/bin/busybox mount -t proc proc /proc # after this busybox finds its own commands
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec > /dev/console 2>&1

for list in first later; do
  while read -r module; do insmod "/modules/$module"; done < "/modules/$list"
done
mkfifo /never
exec 3<> /never

# Reads $3 times $2 bytes, past the guest's memory; prints $1 and the uptime before and after it.
measure() {
  read -r before _ < /proc/uptime
  dd if=/dev/sda of=/dev/null bs="$2" count="$3" iflag=direct 2> /dev/null
  read -r after _ < /proc/uptime
  echo "lab-guest: measured $1 $before $after"
}

echo "lab-guest: READY"
while :; do
  until [ -e /dev/sda ]; do read -r -t 1 _ <&3; done
  read -r -t 2 _ <&3 # until the kernel has looked for partitions
  for round in 1 2 3; do
    measure sequential 128k 16
    measure small 4k 64
  done
  echo "lab-guest: done"
  while [ -e /dev/sda ]; do read -r -t 1 _ <&3; done
done
