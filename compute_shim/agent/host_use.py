# SPDX-License-Identifier: Apache-2.0
"""Which USB devices the host itself uses: those are not given away.

In use is a block device that is mounted, swapped on or part of another one (LVM, md, dm), a network
interface that is up, and a tty that a process holds open.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from compute_shim.agent import inventory
from compute_shim.agent.inventory import clean
from compute_shim.objects import Reason, ReasonCode

# A USB interface in a path of sysfs, for example /usb2/2-1/2-1:1.0/host0/: its device is in port 2-1.
_INTERFACE = re.compile(r"/([0-9]+-[0-9.]+):[0-9]+\.[0-9]+/")
# Octal escapes of /proc/PID/mountinfo and /proc/swaps (proc(5)).
_ESCAPE = re.compile(rb"\\([0-7]{3})")
_IFF_UP = 1  # linux/if.h
# Virtual consoles (Documentation/admin-guide/devices.txt of Linux): there are 64, and none is on USB.
_CONSOLE = re.compile(r"tty[0-9]*|console")


def reasons(sys: Path = Path("/sys"), proc: Path = Path("/proc")) -> dict[str, Reason]:
    """Port path -> what the host does with the device there."""
    found: dict[str, Reason] = {}
    for port, reason in (*_blocks(sys, proc), *_networks(sys), *_ttys(sys, proc)):
        found.setdefault(port, reason)
    return found


def _usb_nodes(sys: Path, kind: str) -> list[tuple[str, str]]:
    """(port, name) of every node of a class of sysfs that sits below a USB device."""
    directory = f"{sys}/class/{kind}"
    nodes = []
    for name in _names(directory):
        if _CONSOLE.fullmatch(name):
            continue
        try:
            interfaces = _INTERFACE.findall(os.readlink(f"{directory}/{name}"))  # noqa: PTH115
        except OSError:
            continue
        if interfaces:
            nodes.append((interfaces[-1], name))
    return nodes


def _blocks(sys: Path, proc: Path) -> Iterator[tuple[str, Reason]]:
    nodes = _usb_nodes(sys, "block")
    if not nodes:
        return
    mounts, swaps = _mounts(proc), _swaps(proc)
    for port, name in nodes:
        directory = f"{sys}/class/block/{name}"
        holders = _names(f"{directory}/holders")
        mount = mounts.get(_read(f"{directory}/dev")) or mounts.get(f"/dev/{name}")
        if mount is not None:
            yield port, Reason(ReasonCode.HOST_MOUNT, f"used by the host: mounted at {mount}")
        elif f"/dev/{name}" in swaps:
            yield port, Reason(ReasonCode.HOST_SWAP, "used by the host: swap space")
        elif holders:
            yield port, Reason(ReasonCode.HOST_VOLUME, f"used by the host: part of {holders[0]}")


def _networks(sys: Path) -> Iterator[tuple[str, Reason]]:
    for port, name in _usb_nodes(sys, "net"):
        if int(_read(f"{sys}/class/net/{name}/flags") or "0", 16) & _IFF_UP:
            text = f"used by the host: network interface {clean(name.encode())} is up"
            yield port, Reason(ReasonCode.HOST_NETWORK, text)


def _ttys(sys: Path, proc: Path) -> Iterator[tuple[str, Reason]]:
    nodes = [(port, name) for port, name in _usb_nodes(sys, "tty") if _may_be_open(sys, name)]
    if not nodes:
        return
    holders = _holders(proc, {f"/dev/{name}" for _, name in nodes})
    for port, name in nodes:
        if f"/dev/{name}" in holders:
            text = f"used by the host: process {holders[f'/dev/{name}']} holds /dev/{name}"
            yield port, Reason(ReasonCode.HOST_PROCESS, text)


def _may_be_open(sys: Path, tty: str) -> bool:
    """False if certainly no process has it open: that spares a look at every open file of the host.

    Whoever opens a tty holds the module of its driver (Linux, drivers/tty/tty_io.c: tty_init_dev, and for
    the port's driver drivers/usb/serial/usb-serial.c: serial_install). One that is built in has no count.
    """
    return _read(f"{sys}/class/tty/{tty}/device/driver/module/refcnt") != "0"


def _mounts(proc: Path) -> dict[str, str]:
    """``major:minor`` and source -> mount point; a file system on several devices has only sources."""
    found = {}
    for line in _lines(f"{proc}/self/mountinfo"):
        fields = line.split()
        if b"-" not in fields[6:]:
            continue
        point = clean(_unescape(fields[4]))
        source = fields[fields.index(b"-", 6) + 2]
        found[fields[2].decode()] = found[clean(_unescape(source))] = point
    return found


def _swaps(proc: Path) -> set[str]:
    return {clean(_unescape(line.split()[0])) for line in _lines(f"{proc}/swaps")[1:] if line.strip()}


def _holders(proc: Path, paths: set[str]) -> dict[str, int]:
    """Path -> a process that has it open."""
    found = {}
    for pid in filter(str.isdigit, _names(str(proc))):
        for descriptor in _names(f"{proc}/{pid}/fd"):
            try:
                target = os.readlink(f"{proc}/{pid}/fd/{descriptor}")  # noqa: PTH115
            except OSError:
                continue
            if target in paths:
                found[target] = int(pid)
    return found


def _names(directory: str) -> list[str]:
    """What is in a directory; nothing where there is none, or where we may not look."""
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208  names, without a Path for each
    except OSError:
        return []


def _unescape(value: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), value)


def _lines(path: str) -> list[bytes]:
    try:
        return inventory.contents(path).splitlines()
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        return inventory.contents(path).decode("ascii", "replace").strip()
    except OSError:
        return ""
