#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# The init of the guest of benchmarks/network: it reads each stick that it is given, or talks to each smart-card reader,
# and prints how long that took.
/bin/busybox mount -t proc proc /proc # after this busybox finds its own commands
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec > /dev/console 2>&1

for list in first later; do
  while read -r module; do insmod "/modules/$module"; done < "/modules/$list"
done
mkfifo /never
exec 3<> /never

# Runs a command; prints $1 and the uptime before and after it.
measure() {
  name=$1
  shift
  read -r before _ < /proc/uptime
  "$@" 2> /dev/null || echo "lab-guest: $* failed"
  read -r after _ < /proc/uptime
  echo "lab-guest: measured $name $before $after"
}

# Past the guest's memory.
read_stick() { dd if=/dev/sda of=/dev/null bs="$1" count="$2" iflag=direct; }

# The node of a smart-card reader (lab/host/usb.py).
find_reader() {
  for device in /sys/bus/usb/devices/*; do
    if grep -qs 08e6 "$device/idVendor"; then
      printf '/dev/bus/usb/%03d/%03d' "$(cat "$device/busnum")" "$(cat "$device/devnum")"
    fi
  done
}

echo "lab-guest: READY"
while :; do
  reader=
  until [ -e /dev/sda ] || [ -e "$reader" ]; do
    read -r -t 1 _ <&3
    reader=$(find_reader)
  done
  read -r -t 2 _ <&3 # until the kernel has looked for partitions
  for round in 1 2 3; do
    if [ -e /dev/sda ]; then
      measure sequential read_stick 128k 16
      measure small read_stick 4k 64
    else
      measure exchange network_exchange "$reader" 200
    fi
  done
  echo "lab-guest: done"
  while [ -e /dev/sda ] || [ -e "$reader" ]; do read -r -t 1 _ <&3; done
done
