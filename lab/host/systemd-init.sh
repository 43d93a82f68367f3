#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A lab host's init, after initrd-init.sh, on a Debian of its own: prepares it and becomes systemd.
. "${BASH_SOURCE[0]%/*}/common.sh"

mount -t tmpfs -o mode=755 tmpfs /run
units=/run/systemd/system
mkdir -p /run/lab /lib/modules $units/multi-user.target.wants $units/sockets.target.wants
ln -s "$LAB_MODULES" "/lib/modules/$(uname -r)"
mount_shares
start_network
echo "$LAB_NAME" > /etc/hostname
configure_libvirtd
ln -s /lib/systemd/system/libvirtd-tcp.socket $units/sockets.target.wants/
# Nobody logs in on the console, and what they do costs an emulated processor minutes.
for unit in serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer man-db.timer e2scrub_all.timer; do
  ln -s /dev/null "$units/$unit"
done

add_unit() {
  echo "$2" > "/run/lab/$1"
  cat > "$units/lab-$1.service" << END
[Unit]
After=libvirtd.socket network-online.target $3
[Service]
ExecStart=/bin/bash /run/lab/$1
StandardOutput=append:/var/log/$1.log
StandardError=inherit
END
  ln -s "../lab-$1.service" $units/multi-user.target.wants/
}

for name in "${!LAB_BACKGROUND[@]}"; do add_unit "$name" "${LAB_BACKGROUND[$name]}"; done
add_unit commands "exec $LAB_PYTHON -I -S $LAB_ROOT/lab/host/labd.py 4000"
add_unit ready "echo lab: ready > /dev/console" lab-commands.service
say "systemd starts"
exec /lib/systemd/systemd
