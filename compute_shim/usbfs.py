# SPDX-License-Identifier: Apache-2.0
"""Device numbers of USB devices: the nodes below /dev/bus/usb, and what udev and sysfs name after them."""

from __future__ import annotations

#: Major number (Documentation/admin-guide/devices.txt of Linux, "189 char").
MAJOR = 189
# Minor numbers that each bus has (Linux, drivers/usb/core/hub.c: usb_new_device).
_MINORS_PER_BUS = 128


def minor(bus: int, device: int) -> int:
    """The minor number of the device with this bus and device number; both count from 1."""
    return (bus - 1) * _MINORS_PER_BUS + device - 1
