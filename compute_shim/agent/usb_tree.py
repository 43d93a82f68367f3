# SPDX-License-Identifier: Apache-2.0
"""The kernel objects of each USB device: its nodes, its drivers, and the objects that they registered.

Read from sysfs at each check. Objects that disappear during the read are omitted.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from compute_shim.agent import files, inventory

# Virtual consoles, their contents, and serial ports of the mainboard: never on USB, and there are many
# (Documentation/admin-guide/devices.txt of Linux: char 4 and 7).
_NEVER_USB = ("4:", "7:")
# A port path in a path of sysfs, by itself or before the number of an interface: /usb2/2-1/2-1:1.0/.
_PORT = re.compile(r"/([0-9]+-[0-9.]+)(?=[:/]|$)")
# Directories have two links, and one for each directory in them, where they are counted.
_COUNTED = 2


@dataclasses.dataclass(frozen=True)
class Interface:
    """An interface of the device's active configuration.

    :param directory: its directory in sysfs.
    :param driver: that is bound to it, None if there is none.
    """

    directory: str
    driver: str | None


class UsbTree:
    """Caches the targets of sysfs entries by inode number, which sysfs does not reuse.

    Linux, fs/kernfs/dir.c: kernfs_new_node. For one thread.
    """

    def __init__(self, sys: Path = Path("/sys")) -> None:
        self._sys = sys
        self._targets: dict[str, tuple[int, list[str]]] = {}
        self._directories: dict[str, tuple[tuple[int, int], list[str]]] = {}

    def nodes(self, ports: Collection[str]) -> dict[str, list[str]]:
        """Port -> the device nodes of the device there and of all that is below it.

        The kernel lists every node of every kind below ``/sys/dev``, which is why a node is named as there:
        ``char/189:3``.
        """
        found: dict[str, list[str]] = {port: [] for port in ports}
        for node, above in sorted(self._all_nodes()):
            # What comes before the last of these ports is the hub that it is behind.
            port = next((port for port in reversed(above) if port in found), None)
            if port is not None:
                found[port].append(node)
        return found

    def _all_nodes(self) -> Iterator[tuple[str, list[str]]]:
        """Each node with the ports in its path."""
        known, self._targets = self._targets, {}
        for kind in ("block", "char"):
            for number, inode in _entries(f"{self._sys}/dev/{kind}"):
                if kind == "char" and number.startswith(_NEVER_USB):
                    continue
                node = f"{kind}/{number}"
                target = known.get(node)
                if target is None or target[0] != inode:
                    target = inode, _ports(link(f"{self._sys}/dev/{node}"))
                self._targets[node] = target
                if target[1]:
                    yield node, target[1]

    def interfaces(self, ports: Collection[str]) -> dict[str, list[Interface]]:
        """Port -> the interfaces of the device there; none if it is not configured."""
        found: dict[str, list[Interface]] = {port: [] for port in ports}
        for name in names(f"{self._sys}/bus/usb/devices"):
            port, colon, _ = name.partition(":")
            if colon and port in found:
                directory = f"{self._sys}/bus/usb/devices/{name}"
                found[port].append(Interface(directory, driver(directory)))
        return found

    def directories(self, directory: str) -> list[str]:
        """The directories in a directory of sysfs: what a driver has registered there, beside attributes."""
        try:
            seen = os.stat(directory)  # noqa: PTH116  a pass looks at hundreds
            # The number of links counts the directories (Linux, fs/kernfs/inode.c: kernfs_refresh_inode).
            state = seen.st_ino, seen.st_nlink
            known = self._directories.get(directory)
            if known is None or known[0] != state or seen.st_nlink < _COUNTED:
                with os.scandir(directory) as entries:
                    known = state, sorted(item.name for item in entries if item.is_dir(follow_symlinks=False))
                self._directories[directory] = known
            return known[1]
        except OSError:
            self._directories.pop(directory, None)
            return []


def _entries(directory: str) -> list[tuple[str, int]]:
    """Name and inode of everything in a directory; nothing where there is none."""
    try:
        with os.scandir(directory) as entries:
            return [(entry.name, entry.inode()) for entry in entries]
    except OSError:
        return []


def _ports(target: str | None) -> list[str]:
    """The port paths in a path of sysfs."""
    return [] if target is None or "usb" not in target else _PORT.findall(target)


def driver(directory: str) -> str | None:
    """The driver that is bound to a device or an interface; None if there is none, or none any more."""
    target = link(f"{directory}/driver")
    return None if target is None else os.path.basename(target)  # noqa: PTH119


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
        return files.text(path)
    except OSError:
        return ""


def lines(path: str) -> Iterable[bytes]:
    """The lines of a file; none where there is none."""
    try:
        return files.contents(path).splitlines()
    except OSError:
        return ()


def node_name(node: str, sys: Path) -> str:
    """What udev calls a node by default, for people: ``/dev/ttyUSB0``."""
    for line in lines(f"{sys}/dev/{node}/uevent"):
        if line.startswith(b"DEVNAME="):
            return "/dev/" + inventory.clean(line.removeprefix(b"DEVNAME="))
    return node
