# SPDX-License-Identifier: Apache-2.0
"""Resets a USB device of this host, so that its state is as after being plugged in.

The kernel restores its address and configuration, and the host's drivers stay bound or are bound again. Data
on the device, including its firmware, is not changed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from compute_shim.agent import usb_tree
from compute_shim.objects import Device

# linux/usbdevice_fs.h: _IO('U', 20)
_USBDEVFS_RESET = 0x5514


def reset(device: Device, sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> None:
    """Reset the device that is at the address ``device.bus, device.device`` now.

    :raises OSError: it is gone (ENODEV, ENOENT), a process holds it (EBUSY), or it does not return
    """
    if _is_held(sys / "bus/usb/devices", device.port):
        raise OSError(errno.EBUSY, "a process of the host holds it")
    # linux, drivers/usb/core/devio.c: who may not write may not reset.
    descriptor = os.open(dev / f"bus/usb/{device.bus:03}/{device.device:03}", os.O_RDWR)
    try:
        fcntl.ioctl(descriptor, _USBDEVFS_RESET)
    finally:
        os.close(descriptor)


def probe(device: Device, sys: Path = Path("/sys")) -> None:
    """Let the host's drivers have what no driver has: a process that was killed has left it so."""
    usb = sys / "bus/usb"
    for interface in sorted((usb / "devices").glob(f"{device.port}:*")):
        if usb_tree.driver(str(interface)) is None:
            with contextlib.suppress(OSError):  # no driver wants it, or it is gone
                (usb / "drivers_probe").write_text(interface.name)


def _is_held(devices: Path, port: str) -> bool:
    """Whether a process such as QEMU has claimed an interface: then its driver is usbfs."""
    return any(usb_tree.driver(str(interface)) == "usbfs" for interface in devices.glob(f"{port}:*"))
