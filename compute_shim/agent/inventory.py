# SPDX-License-Identifier: Apache-2.0
"""The USB devices plugged into this host, read from sysfs and from udev's database.

Names follow the rule of ``lsusb`` (usbutils, lsusb.c, get_vendor_product_with_fallback): the name that the
hardware database has, and the device's own string only where it has none. Every string of a device is
hostile input and is cleaned here, where it enters.
"""

from __future__ import annotations

import collections
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from compute_shim import usbfs
from compute_shim.objects import Device, Plugged

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


def scan(sys: Path = Path("/sys"), udev: Path = Path("/run/udev")) -> list[Plugged]:
    """All plugged devices but hubs, by port."""
    try:
        names = os.listdir(sys / "bus/usb/devices")  # noqa: PTH208  names, without a Path for each
    except FileNotFoundError:
        return []  # a kernel without USB
    ports = sorted(filter(_PORT_PATH.fullmatch, names))
    return [device for port in ports if (device := read(port, sys, udev)) is not None]


def read(port: str, sys: Path = Path("/sys"), udev: Path = Path("/run/udev")) -> Plugged | None:
    """The device in a port; None if there is none, if it is a hub, or if it goes away meanwhile."""
    directory = f"{sys}/bus/usb/devices/{port}"
    try:
        classes = list(_classes(contents(f"{directory}/descriptors")))
        numbers = dict(line.split("=", 1) for line in _text(f"{directory}/uevent").splitlines())
        bus, device = int(numbers["BUSNUM"]), int(numbers["DEVNUM"])
        vendor_id, product_id = (int(value, 16) for value in numbers["PRODUCT"].split("/")[:2])
        speed = _text(f"{directory}/speed")
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
    )


def identify(plugged: Iterable[Plugged], held: Mapping[str, str]) -> list[Device]:
    """Give every plugged device the identity by which it is known again after a re-plug.

    It is the serial where no other plugged device has the same, else the port. A device that a server
    holds keeps the identity it is held by when a twin comes or goes.

    :param held: identity -> port, of the devices that a server holds.
    """
    plugged = list(plugged)
    count = collections.Counter(map(_serial_identity, plugged))
    return [_device(item, _identity(item, count, held)) for item in plugged]


def _identity(item: Plugged, count: Mapping[str | None, int], held: Mapping[str, str]) -> str:
    by_serial, by_port = _serial_identity(item), _port_identity(item)
    if by_serial is None or by_port in held:
        return by_port
    if count[by_serial] == 1 or held.get(by_serial) == item.port:
        return by_serial
    return by_port


def _serial_identity(item: Plugged) -> str | None:
    serial = item.serial.strip()
    return f"{item.vendor_id}:{item.product_id}:{serial}" if serial else None


def _port_identity(item: Plugged) -> str:
    return f"{item.vendor_id}:{item.product_id}@{item.port}"


def _device(item: Plugged, identity: str) -> Device:
    return Device(identity=identity, **vars(item))


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
