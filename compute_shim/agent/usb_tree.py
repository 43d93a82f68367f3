# SPDX-License-Identifier: Apache-2.0
"""What the host's kernel has made of each USB device: its nodes, its drivers, and what they registered.

Read anew from sysfs at each look. Whatever goes away while it is read is not there.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from compute_shim.agent import inventory

# Virtual consoles, their contents, and serial ports of the mainboard: never on USB, and there are many
# (Documentation/admin-guide/devices.txt of Linux: char 4 and 7).
_NEVER_USB = ("4:", "7:")
# A port path in a path of sysfs, by itself or before the number of an interface: /usb2/2-1/2-1:1.0/.
_PORT = re.compile(r"/([0-9]+-[0-9.]+)(?=[:/]|$)")
_INTERFACE = re.compile(r"([0-9]+-[0-9.]+):[0-9]+\.[0-9]+")


@dataclasses.dataclass(frozen=True)
class Interface:
    """An interface of the device's active configuration.

    :param directory: its directory in sysfs.
    :param driver: that is bound to it, None if there is none.
    """

    directory: str
    driver: str | None


def nodes(ports: Collection[str], sys: Path) -> dict[str, list[str]]:
    """Port -> the device nodes of the device there and of all that is below it.

    The kernel lists every node of every kind below ``/sys/dev``, which is why a node is named as there:
    ``char/189:3``.
    """
    found: dict[str, list[str]] = {port: [] for port in ports}
    for kind in ("block", "char"):
        for number in names(f"{sys}/dev/{kind}"):
            if kind == "char" and number.startswith(_NEVER_USB):
                continue
            port = _nearest(link(f"{sys}/dev/{kind}/{number}"), found)
            if port is not None:
                found[port].append(f"{kind}/{number}")
    return found


def _nearest(target: str | None, ports: Mapping[str, object]) -> str | None:
    """The last of these ports in a path: what comes before is the hub that it is behind."""
    if target is None or "usb" not in target:
        return None
    return next((port for port in reversed(_PORT.findall(target)) if port in ports), None)


def interfaces(ports: Collection[str], sys: Path) -> dict[str, list[Interface]]:
    """Port -> the interfaces of the device there; none if it is not configured."""
    found: dict[str, list[Interface]] = {port: [] for port in ports}
    for name in names(f"{sys}/bus/usb/devices"):
        match = _INTERFACE.fullmatch(name)
        if match is not None and match[1] in found:
            directory = f"{sys}/bus/usb/devices/{name}"
            found[match[1]].append(Interface(directory, driver(directory)))
    return found


def driver(directory: str) -> str | None:
    """The driver that is bound to a device or an interface; None if there is none, or none any more."""
    target = link(f"{directory}/driver")
    return None if target is None else os.path.basename(target)  # noqa: PTH119


def directories(directory: str) -> list[str]:
    """The directories in a directory of sysfs: what a driver has registered there, beside attributes."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def names(directory: str) -> list[str]:
    """What is in a directory; nothing where there is none."""
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208  names, without a Path for each
    except OSError:
        return []


def link(path: str) -> str | None:
    """Where a symbolic link leads; None if there is none."""
    try:
        return os.readlink(path)  # noqa: PTH115  a pass reads hundreds
    except OSError:
        return None


def read(path: str) -> str:
    """The text of a small file; empty where there is none, or none any more."""
    try:
        return inventory.contents(path).decode("ascii", "replace").strip()
    except OSError:
        return ""


def lines(path: str) -> Iterable[bytes]:
    """The lines of a file; none where there is none."""
    try:
        return inventory.contents(path).splitlines()
    except OSError:
        return ()


def node_name(node: str, sys: Path) -> str:
    """What udev calls a node by default, for people: ``/dev/ttyUSB0``."""
    for line in lines(f"{sys}/dev/{node}/uevent"):
        if line.startswith(b"DEVNAME="):
            return "/dev/" + inventory.clean(line.removeprefix(b"DEVNAME="))
    return node
