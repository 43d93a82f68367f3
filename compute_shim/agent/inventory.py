# SPDX-License-Identifier: Apache-2.0
"""The USB devices plugged into this host, read from sysfs and from udev's database.

Names follow the rule of ``lsusb`` (usbutils, lsusb.c, get_vendor_product_with_fallback): the name that the
hardware database has, and the device's own string only where it has none. Every string of a device is
hostile input and is cleaned here, where it enters.
"""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from compute_shim import usbfs
from compute_shim.agent import sockets
from compute_shim.objects import Plugged

# USB 2.0 specification: standard descriptor fields in 9.6, descriptor types in table 9-5,
# class codes at https://www.usb.org/defined-class-codes.
_INTERFACE_DESCRIPTOR = 4
_DEVICE_CLASS_OFFSET = 4
_INTERFACE_CLASS_OFFSET = 5
_CLASS_IN_INTERFACE = 0x00
_CLASS_HUB = 0x09

_CHUNK = 1 << 16
_FROM_DATABASE = (b"E:ID_VENDOR_FROM_DATABASE=", b"E:ID_MODEL_FROM_DATABASE=")

_PORT_PATH = re.compile(r"[0-9]+-[0-9]+(\.[0-9]+)*")
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def clean(raw: bytes) -> str:
    """Text of a device made harmless: whatever cannot be printed as it is becomes U+FFFD."""
    text = raw.decode("utf-8", "replace")
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(character) in _UNPRINTABLE else character
        for character in text
    )


@functools.cache
def boot_id(proc: Path = Path("/proc")) -> str:
    """Of the kernel: another one after each boot (Linux, Documentation/admin-guide/sysctl/kernel.rst)."""
    return _text(f"{proc}/sys/kernel/random/boot_id")


def scan(
    sys: Path = Path("/sys"), udev: Path = Path("/run/udev"), proc: Path = Path("/proc")
) -> list[Plugged]:
    """All plugged devices but hubs, by port."""
    try:
        names = os.listdir(sys / "bus/usb/devices")  # noqa: PTH208  names, without a Path for each
    except FileNotFoundError:
        return []  # a kernel without USB
    ports = sorted(filter(_PORT_PATH.fullmatch, names))
    return [device for port in ports if (device := read(port, sys, udev, proc)) is not None]


def read(
    port: str, sys: Path = Path("/sys"), udev: Path = Path("/run/udev"), proc: Path = Path("/proc")
) -> Plugged | None:
    """The device in a port; None if there is none, if it is a hub, or if it goes away meanwhile."""
    directory = f"{sys}/bus/usb/devices/{port}"
    try:
        classes = list(_classes(contents(f"{directory}/descriptors")))
        numbers = dict(line.split("=", 1) for line in _text(f"{directory}/uevent").splitlines())
        bus, device = int(numbers["BUSNUM"]), int(numbers["DEVNUM"])
        vendor_id, product_id = (int(value, 16) for value in numbers["PRODUCT"].split("/")[:2])
        speed = _text(f"{directory}/speed")
        socket = sockets.name(directory, port)
        # The kernel counts up the inodes of sysfs (fs/kernfs/dir.c: __kernfs_new_node): a device that is
        # plugged in again has another one, whatever its bus and device number are.
        inode = os.stat(directory).st_ino  # noqa: PTH116  as above
    except (OSError, KeyError, ValueError, IndexError):
        return None
    if _CLASS_HUB in classes:
        return None
    known = _udev_names(udev, bus, device)
    vendor = known.get("E:ID_VENDOR_FROM_DATABASE") or _string(directory, "manufacturer")
    product = known.get("E:ID_MODEL_FROM_DATABASE") or _string(directory, "product")
    return Plugged(
        name=f"{vendor} {product}".strip(),
        vendor_id=f"{vendor_id:04x}",
        product_id=f"{product_id:04x}",
        vendor=vendor,
        product=product,
        serial=_string(directory, "serial"),
        device_class=f"{_own_class(classes):02x}",
        speed=speed,
        port=port,
        bus=bus,
        device=device,
        socket=socket,
        plug_id=f"{boot_id(proc)}/{bus}.{device}/{inode}",
    )


def _classes(descriptors: bytes) -> Iterator[int]:
    """The class of the device, then that of each interface, as its descriptors have them."""
    yield descriptors[_DEVICE_CLASS_OFFSET]
    position = 0
    while position + 1 < len(descriptors):
        length, kind = descriptors[position], descriptors[position + 1]
        if length < 2:
            return
        if kind == _INTERFACE_DESCRIPTOR and position + _INTERFACE_CLASS_OFFSET < len(descriptors):
            yield descriptors[position + _INTERFACE_CLASS_OFFSET]
        position += length


def _own_class(classes: list[int]) -> int:
    if classes[0] == _CLASS_IN_INTERFACE and len(classes) > 1:
        return classes[1]
    return classes[0]


def _udev_names(udev: Path, bus: int, device: int) -> dict[str, str]:
    """The names that udev has found for a device; nothing while it has not seen the device yet."""
    try:
        # udev names its record of a device after its device number.
        lines = contents(f"{udev}/data/c{usbfs.MAJOR}:{usbfs.minor(bus, device)}").split(b"\n")
    except OSError:
        return {}
    pairs = (line.partition(b"=") for line in lines if line.startswith(_FROM_DATABASE))
    return {key.decode(): clean(value) for key, _, value in pairs}


def _string(directory: str, attribute: str) -> str:
    """A string descriptor, empty where the device has none."""
    try:
        return clean(contents(f"{directory}/{attribute}").removesuffix(b"\n"))
    except OSError:
        return ""


def _text(path: str) -> str:
    return contents(path).decode("ascii", "replace").strip()


def contents(path: str) -> bytes:
    """A whole file. A pass opens hundreds, so none of the conveniences."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return b"".join(iter(lambda: os.read(descriptor, _CHUNK), b""))
    finally:
        os.close(descriptor)
