# SPDX-License-Identifier: Apache-2.0
"""What a container really has: the nodes in its /dev, and what its processes have open."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from compute_shim import usbfs
from compute_shim.hypervisor.libvirt import qemu_process


def has_node(
    domain: str,
    address: tuple[int, int],
    run: Path = Path("/run/libvirt/lxc"),
    proc: Path = Path("/proc"),
) -> bool:
    """Whether a container's /dev has the node of a device.

    It is looked at where libvirt made it, not through the container's own root, where a file system that
    never answers may be mounted.

    :param domain: name of the container.
    :param address: bus and device number.
    :param run: where libvirt keeps the process id and the /dev of each container (libvirt,
        src/lxc/lxc_controller.c: virLXCControllerSetupDev); the latter is to be seen by its process only.
    """
    bus, device = address
    try:
        pid = int((run / f"{domain}.pid").read_text())
        node = os.lstat(f"{proc}/{pid}/root{run}/{domain}.dev/bus/usb/{bus:03}/{device:03}")
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(node.st_mode) and node.st_rdev == _number(address)


def is_open(address: tuple[int, int], proc: Path = Path("/proc")) -> bool:
    """Whether a process of some container has a device open.

    It goes on using it when the node is gone and the cgroup forbids it.

    :param address: bus and device number.
    """
    bus, device = address
    node = re.compile(rf".*/{bus:03}/{device:03}( \(deleted\))?")
    host = os.readlink(f"{proc}/self/ns/pid")  # noqa: PTH115  as below: there are many
    for pid in map(int, filter(str.isdigit, os.listdir(proc))):  # noqa: PTH208
        try:
            inside = os.readlink(f"{proc}/{pid}/ns/pid") != host  # noqa: PTH115
            if inside and any(map(node.fullmatch, qemu_process.open_paths(pid, proc))):
                return True
        except OSError:  # it has ended
            continue
    return False


def is_inside(pid: int, run: Path = Path("/run/libvirt/lxc"), proc: Path = Path("/proc")) -> bool:
    """Whether a process runs in a container of libvirt's: it descends from the container's controller.

    A process whose parent ends becomes a child of the first one of its container (pid_namespaces(7)).

    :param run: as for `has_node`.
    """
    controllers = qemu_process.pids(run)
    while pid > 1 and pid not in controllers:
        pid = _parent(pid, proc)
    return pid in controllers


def _parent(pid: int, proc: Path) -> int:
    """The process that started another one, or took it over; 0 if that has ended."""
    try:
        # proc(5): the name before may have brackets and blanks.
        return int((proc / f"{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


@contextlib.contextmanager
def node_on_host(address: tuple[int, int], directory: Path = Path("/dev/bus/usb")) -> Iterator[bool]:
    """Meanwhile the host has a node for the device, even if the device was pulled out.

    libvirt reads from the node which device a container may no longer open. Without a node it goes on being
    allowed, and so would be whatever device gets the same number.

    :returns: whether the device is there
    """
    bus, device = address
    node = directory / f"{bus:03}" / f"{device:03}"
    node.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mknod(node, stat.S_IFCHR | 0o600, _number(address))
    except FileExistsError:
        yield True
        return
    try:
        yield False
    finally:
        node.unlink()


def _number(address: tuple[int, int]) -> int:
    """The number of a device's node."""
    return os.makedev(usbfs.MAJOR, usbfs.minor(*address))
