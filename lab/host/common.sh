# SPDX-License-Identifier: Apache-2.0
# What every init of a lab host begins with. $1 is a file of settings (LAB_*) from lab/host/machine.py.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
exec < /dev/null > /dev/console 2>&1
set -eE
trap 'echo "lab: $BASH_COMMAND failed: ${BASH_SOURCE[0]} line $LINENO"' ERR
. "$1"

say() { read -r up _ < /proc/uptime; echo "lab: $* at $up s"; }
mount_9p() { mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,cache=none,$3" "$1" "$2"; }

mount_shares() {
  local number=0 share
  for share in "${LAB_SHARES[@]}"; do
    mkdir -p "$share"
    mount_9p "share$number" "$share" rw
    number=$((number + 1))
  done
}

start_network() {
  local address=127.0.1.1 link=1 peer
  hostname "$LAB_NAME"
  ip link set lo up
  ip addr add 10.0.2.15/24 dev eth0
  ip link set eth0 up
  ip route add default via 10.0.2.2
  for peer in "${LAB_PEERS[@]}"; do
    address="10.9.0.$LAB_NUMBER"
    ip addr add "$address" peer "10.9.0.${peer%%:*}" dev "eth$link"
    ip link set "eth$link" up
    echo "10.9.0.${peer%%:*} ${peer#*:}" >> /etc/hosts
    link=$((link + 1))
  done
  echo "$address $LAB_NAME" >> /etc/hosts
}

# This machine connects by TCP.
configure_libvirtd() {
  cat >> /etc/libvirt/libvirtd.conf << END
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
listen_addr = "0.0.0.0"
host_uuid = "$LAB_UUID"
END
}
