#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A lab host's init, after initrd-init.sh: this machine's file system below a memory overlay, no systemd.
# All it prints goes to the serial console, which is serial.log in the host's directory under lab/run.
# $1 is a file of settings (LAB_*) from lab/host/machine.py.
export PYTHONDONTWRITEBYTECODE=1
. "${BASH_SOURCE[0]%/*}/common.sh"

mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/lock /run/lab /run/libvirt /lib/modules
ln -s /proc/self/fd /dev/fd # for bash
ln -s "$LAB_MODULES" "/lib/modules/$(uname -r)"

# The checkout without a cache, so that an edit on the machine is seen here at once.
# Its virtualenv is large and does not change: through the cache.
mkdir -p /run/lab/venv
if [ -d "$LAB_ROOT/.venv" ]; then mount --bind "$LAB_ROOT/.venv" /run/lab/venv; fi
mount_9p checkout "$LAB_ROOT" ro
if [ -d "$LAB_ROOT/.venv" ]; then mount --move /run/lab/venv "$LAB_ROOT/.venv"; fi
mount_shares
start_network
say "file systems and network up"

for name in "${!LAB_BACKGROUND[@]}"; do
  bash -c "${LAB_BACKGROUND[$name]}" > "/var/log/$name.log" 2>&1 &
  echo $! > "/run/lab/$name.pid"
done
"$LAB_PYTHON" -I -S "$LAB_ROOT/lab/host/labd.py" 4000 &

/lib/systemd/systemd-udevd --daemon
modprobe xhci_pci
modprobe fuse # for libvirt's LXC driver
modprobe kvm_amd # for the guests: PROCESSOR in lab/host/machine.py
say "USB controllers found"

# The machine's own domains, networks and state are no business of this host.
rm -rf /etc/libvirt/qemu/*.xml /etc/libvirt/qemu/autostart/* /etc/libvirt/qemu/networks/autostart/* \
  /var/lib/libvirt/qemu/* /var/log/libvirt/qemu/* /etc/libvirt/lxc/*.xml /etc/libvirt/lxc/autostart/*
cat >> /etc/libvirt/qemu.conf << END
user = "root"
group = "root"
remember_owner = 0
END
configure_libvirtd
virtlogd --daemon
libvirtd --listen --daemon
say "libvirtd started"
udevadm settle
say "ready"
set +e
while :; do wait; sleep 3600; done
