# SPDX-License-Identifier: Apache-2.0
"""The actual devices of a container: the nodes in its /dev, and the open files of its processes."""

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

    Checks the /dev that libvirt created, not the container's root, where a file system that does not respond
    can be mounted.

    :param domain: name of the container.
    :param address: bus and device number.
    :param run: where libvirt keeps the process id and the /dev of each container (libvirt,
        src/lxc/lxc_controller.c: virLXCControllerSetupDev); the latter is visible to its process only.
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

    The process can use it even when the node is removed and the cgroup denies it.

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
    """Whether a process runs in a libvirt container: it descends from the container's controller.

    A process whose parent ends becomes a child of the container's init process (pid_namespaces(7)).

    :param run: as for `has_node`.
    """
    controllers = qemu_process.pids(run)
    while pid > 1 and pid not in controllers:
        pid = _parent(pid, proc)
    return pid in controllers


def _parent(pid: int, proc: Path) -> int:
    """The parent of a process; 0 if the process has ended."""
    try:
        # proc(5): the name before may have brackets and blanks.
        return int((proc / f"{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


@contextlib.contextmanager
def node_on_host(address: tuple[int, int], directory: Path = Path("/dev/bus/usb")) -> Iterator[bool]:
    """Ensures that the host has a node for the device, even if the device was unplugged.

    libvirt reads the device number to revoke from the node. Without a node, access is not revoked, and the
    container could open the next device with the same number.

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
