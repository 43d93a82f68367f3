# SPDX-License-Identifier: Apache-2.0
"""Paths of the lab, and the Debian packages that it needs."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

CACHE = ROOT / "lab" / "cache"
"""What takes long to make and may be thrown away: the kernel."""

RUN = Path(os.environ.get("LAB_RUN") or ROOT / "lab" / "run")
"""What belongs to running hosts and clouds: process ids, ports, sockets, logs, credentials.

With another directory in LAB_RUN a second lab runs beside the first."""

PACKAGES = (
    "btrfs-progs",
    "busybox-static",
    "dropbear-bin",
    "iproute2",
    "kmod",
    "libusbredirhost1",
    "libvirt-clients",
    "libvirt-daemon-driver-lxc",
    "libvirt-daemon-system",
    "lvm2",
    "openssh-client",
    "openssh-sftp-server",
    "psmisc",
    "qemu-system-x86",
    "qemu-utils",
    "udev",
    "usbutils",
)
"""Debian packages that lab.host and lab.guest need, apart from python3, apt and dpkg."""
