#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A lab host's init, after initrd-init.sh: this machine's file system below a memory overlay, no systemd.
# All it prints goes to the serial console, which is serial.log in the host's directory under lab/run.
# $1 is a file of settings (LAB_*) from lab/host/machine.py.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
export PYTHONDONTWRITEBYTECODE=1
exec < /dev/null > /dev/console 2>&1
set -eE
trap 'echo "lab: $BASH_COMMAND failed: init.sh line $LINENO"' ERR
. "$1"

say() { read -r up _ < /proc/uptime; echo "lab: $* at $up s"; }
mount_9p() { mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,cache=none,$3" "$1" "$2"; }

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
number=0
for share in "${LAB_SHARES[@]}"; do
  mkdir -p "$share"
  mount_9p "share$number" "$share" rw
  number=$((number + 1))
done

hostname "$LAB_NAME"
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
address=127.0.1.1
link=1
for peer in "${LAB_PEERS[@]}"; do
  address="10.9.0.$LAB_NUMBER"
  ip addr add "$address" peer "10.9.0.${peer%%:*}" dev "eth$link"
  ip link set "eth$link" up
  echo "10.9.0.${peer%%:*} ${peer#*:}" >> /etc/hosts
  link=$((link + 1))
done
echo "$address $LAB_NAME" >> /etc/hosts
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
cat >> /etc/libvirt/libvirtd.conf << END
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
listen_addr = "0.0.0.0"
host_uuid = "$LAB_UUID"
END
virtlogd --daemon
libvirtd --listen --daemon
say "libvirtd started"
udevadm settle
say "ready"
set +e
while :; do wait; sleep 3600; done
