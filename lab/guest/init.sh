#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# The tiny guest's init. It prints its whole list of USB devices, as a line of JSON, whenever the list changes
# (lab/guest/__init__.py reads it), and switches off when its power button is pressed.
# One process at a time and few of them: the guest runs on an emulated processor.
/bin/busybox mount -t proc proc /proc # after this busybox finds its own commands
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec > /dev/console 2>&1

load() { while read -r module; do insmod "/modules/$module"; done < "/modules/$1"; }

# Sets $text to the first line of file $1 as the inside of a JSON string.
json_text() {
  text=
  [ -e "$1" ] && IFS= read -r text < "$1"
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//[[:cntrl:]]/?}
}

report() {
  list=
  for device in /sys/bus/usb/devices/*; do
    case ${device##*/} in usb*|*:*) continue;; esac # root hubs and interfaces
    json_text "$device/idVendor"; entry="{\"id\": \"$text:"
    json_text "$device/idProduct"; entry="$entry$text\", \"serial\": \""
    json_text "$device/serial"; entry="$entry$text\", \"product\": \""
    json_text "$device/product"; entry="$entry$text\", \"begins\": \""
    text=
    for disk in "$device"/*:*/host*/target*/*/block/sd*; do
      [ -e "$disk" ] && text=$(head -c 32 "/dev/${disk##*/}" | tr -cd '[:alnum:]-')
    done
    list="$list${list:+, }$entry$text\"}"
  done
  echo "lab-guest: usb [$list]"
}

wait_for_button() {
  for input in /sys/class/input/event*; do
    read -r name < "$input/device/name"
    [ "$name" = "Power Button" ] || continue
    head -c 1 "/dev/input/${input##*/}" > /dev/null
    echo "lab-guest: power button"
    poweroff -f
  done
}

load first
report
read -r uptime _ < /proc/uptime
echo "lab-guest: READY after $uptime s"
{ load later; wait_for_button; } &

mkfifo /never
exec 3<> /never
seen=
while :; do
  # Nodes are named by number, so a device that comes back at the same port is a change. A node goes before its
  # device has left sysfs, which the list is read from: that is a change of its own.
  set -- /dev/bus/usb/*/* /sys/bus/usb/devices/* /dev/sd*
  [ "$*" = "$seen" ] || { seen="$*"; report; }
  read -r -t 1 _ <&3
done
