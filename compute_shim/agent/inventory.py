# SPDX-License-Identifier: Apache-2.0
"""The USB devices plugged into this host, read from sysfs and from udev's database.

Names follow the rule of ``lsusb`` (usbutils, lsusb.c, get_vendor_product_with_fallback): the name that the
hardware database has, and the device's own string only where it has none. Every string of a device is
hostile input and is cleaned here, where it enters.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from compute_shim import usbfs
from compute_shim.agent import files, network_drivers, sockets
from compute_shim.objects import Plugged

# USB 2.0 specification: standard descriptor fields in 9.6, descriptor types in table 9-5,
# class codes at https://www.usb.org/defined-class-codes.
_INTERFACE_DESCRIPTOR = 4
_DEVICE_CLASS_OFFSET = 4
_INTERFACE_CLASS_OFFSET = 5
_CLASS_IN_INTERFACE = "00"
_CLASS_HUB = "09"
_CLASS_OF_VENDOR = "ff"

_FROM_DATABASE = (b"E:ID_VENDOR_FROM_DATABASE=", b"E:ID_MODEL_FROM_DATABASE=")

_PORT_PATH = re.compile(r"[0-9]+-[0-9]+(\.[0-9]+)*")
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def clean(raw: bytes) -> str:
    """Sanitized text of a device: unprintable characters are replaced by U+FFFD."""
    text = raw.decode("utf-8", "replace")
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(character) in _UNPRINTABLE else character
        for character in text
    )


@functools.cache
def boot_id(proc: Path = Path("/proc")) -> str:
    """The boot id, which changes at each boot (Linux, Documentation/admin-guide/sysctl/kernel.rst)."""
    return files.text(f"{proc}/sys/kernel/random/boot_id")


@dataclasses.dataclass(frozen=True)
class _Seen:
    """A port as it was read.

    :param inode: of its directory. The kernel counts up the inodes of sysfs (Linux, fs/kernfs/dir.c:
        __kernfs_new_node): a device that is plugged in again has another one, whatever its bus and device
        number are.
    :param record: udev's, of the device; its ``stamp`` is another one when udev has written it anew.
    :param device: None if it is a hub.
    :param lasting: nothing else can change.
    :param unknown_driver: it may be a network adapter yet, of a driver that no module has.
    """

    inode: int
    record: str
    stamp: tuple[int, int] | None
    device: Plugged | None
    lasting: bool = True
    unknown_driver: bool = False


class Inventory:
    """Scans the plugged devices, and caches constant attributes. For one thread."""

    def __init__(
        self, sys: Path = Path("/sys"), udev: Path = Path("/run/udev"), proc: Path = Path("/proc")
    ) -> None:
        self._devices = f"{sys}/bus/usb/devices"
        self._udev = str(udev)
        self._proc = proc
        self._seen: dict[str, _Seen] = {}

    def scan(self) -> list[Plugged]:
        """All plugged devices except hubs, by port."""
        try:
            names = os.listdir(self._devices)  # noqa: PTH208  names, without a Path for each
        except FileNotFoundError:
            return []  # a kernel without USB
        ports = sorted(filter(_PORT_PATH.fullmatch, names))
        self._seen = {port: seen for port in ports if (seen := self._seen.get(port)) is not None}
        return [device for port in ports if (device := self.read(port)) is not None]

    def read(self, port: str) -> Plugged | None:
        """The device in a port; None if there is none, if it is a hub, or if it goes away during the read."""
        directory = f"{self._devices}/{port}"
        seen = self._seen.pop(port, None)
        try:
            inode = os.stat(directory).st_ino  # noqa: PTH116  a pass looks at hundreds
            if seen is None or not seen.lasting or seen.inode != inode or _stamp(seen.record) != seen.stamp:
                seen = self._look(port, directory, inode)
        except (OSError, KeyError, ValueError, IndexError):
            return None
        self._seen[port] = seen
        if seen.device is not None and seen.unknown_driver and _has_network(directory):
            return dataclasses.replace(seen.device, network=True)
        return seen.device

    def _look(self, port: str, directory: str, inode: int) -> _Seen:
        own, *interfaces = _classes(files.contents(f"{directory}/descriptors"))
        numbers = dict(line.split("=", 1) for line in files.text(f"{directory}/uevent").splitlines())
        bus, device = int(numbers["BUSNUM"]), int(numbers["DEVNUM"])
        # udev names its record of a device after its device number.
        record = f"{self._udev}/data/c{usbfs.MAJOR}:{usbfs.minor(bus, device)}"
        stamp = _stamp(record)
        if any(triple.startswith(_CLASS_HUB) for triple in (own, *interfaces)):
            return _Seen(inode, record, stamp, None)
        vendor_id, product_id = (f"{int(value, 16):04x}" for value in numbers["PRODUCT"].split("/")[:2])
        socket = sockets.name(directory, port)
        known = _udev_names(record)
        vendor = known.get("E:ID_VENDOR_FROM_DATABASE") or _string(directory, "manufacturer")
        product = known.get("E:ID_MODEL_FROM_DATABASE") or _string(directory, "product")
        of_vendor = any(triple.startswith(_CLASS_OF_VENDOR) for triple in interfaces)
        network = of_vendor and _drives_network(vendor_id, product_id, own, tuple(interfaces))
        plugged = Plugged(
            name=f"{vendor} {product}".strip(),
            vendor_id=vendor_id,
            product_id=product_id,
            vendor=vendor,
            product=product,
            serial=_string(directory, "serial"),
            device_class=_own_class(own, interfaces),
            speed=files.text(f"{directory}/speed"),
            port=port,
            bus=bus,
            device=device,
            socket=socket.name,
            plug_id=f"{boot_id(self._proc)}/{bus}.{device}/{inode}",
            classes=tuple(dict.fromkeys(interfaces if _in_interfaces(own) else (own, *interfaces))),
            network=network,
        )
        # Of a device that was not authorized when it was plugged in, an old kernel reads the rest later.
        lasting = socket.lasting and bool(interfaces)
        return _Seen(inode, record, stamp, plugged, lasting, of_vendor and not network)


def scan(
    sys: Path = Path("/sys"), udev: Path = Path("/run/udev"), proc: Path = Path("/proc")
) -> list[Plugged]:
    """All plugged devices except hubs, by port."""
    return Inventory(sys, udev, proc).scan()


def _stamp(record: str) -> tuple[int, int] | None:
    """Another one when a record of udev, which replaces the file, is another one; None if there is none."""
    try:
        found = os.stat(record)  # noqa: PTH116  a pass looks at hundreds
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _classes(descriptors: bytes) -> Iterator[str]:
    """Class, subclass and protocol of the device, then those of each interface."""
    yield _triple(descriptors, _DEVICE_CLASS_OFFSET)
    position = 0
    while position + 1 < len(descriptors):
        length, kind = descriptors[position], descriptors[position + 1]
        if length < 2:
            return
        if kind == _INTERFACE_DESCRIPTOR and position + _INTERFACE_CLASS_OFFSET < len(descriptors):
            yield _triple(descriptors, position + _INTERFACE_CLASS_OFFSET)
        position += length


def _triple(descriptors: bytes, start: int) -> str:
    """Three bytes in hexadecimal; where the end is missing it is 00.

    :raises IndexError: not even the first is there
    """
    if start >= len(descriptors):
        raise IndexError(start)
    return descriptors[start : start + 3].hex().ljust(6, "0")


def _in_interfaces(triple: str) -> bool:
    """Whether a device leaves its class to its interfaces (USB 2.0 specification, table 9-8)."""
    return triple.startswith(_CLASS_IN_INTERFACE)


def _own_class(own: str, interfaces: Sequence[str]) -> str:
    return (interfaces[0] if _in_interfaces(own) and interfaces else own)[:2]


def _drives_network(vendor_id: str, product_id: str, own: str, interfaces: tuple[str, ...]) -> bool:
    """Whether a device of a vendor-specific class is a network adapter to a module of the kernel."""
    return network_drivers.match(vendor_id, product_id, own, interfaces, network_drivers.modules())


def _has_network(directory: str) -> bool:
    """Whether a driver has made a network interface of a device.

    It may be built into the kernel, or come from outside it. Names of interfaces have a colon.
    """
    try:
        parts = [name for name in os.listdir(directory) if ":" in name]  # noqa: PTH208  names, as above
    except OSError:
        return False
    return any(os.path.isdir(f"{directory}/{part}/net") for part in parts)  # noqa: PTH112


def _udev_names(record: str) -> dict[str, str]:
    """The names in udev's database; empty until udev has processed the device."""
    try:
        lines = files.contents(record).split(b"\n")
    except OSError:
        return {}
    pairs = (line.partition(b"=") for line in lines if line.startswith(_FROM_DATABASE))
    return {key.decode(): clean(value) for key, _, value in pairs}


def _string(directory: str, attribute: str) -> str:
    """A string descriptor, empty where the device has none."""
    try:
        return clean(files.contents(f"{directory}/{attribute}").removesuffix(b"\n"))
    except OSError:
        return ""
