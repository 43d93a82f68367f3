# SPDX-License-Identifier: Apache-2.0
"""Detects whether the host uses a block device, by an exclusive open that the kernel refuses if it is in use.

A device is in use if it is mounted (in any namespace, also as one of several disks), is swap space, or is
part of a volume (LVM, md, dm, bcache ...). The data on the device is not read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import re
import stat
import struct
from collections.abc import Collection, Iterator
from pathlib import Path

from compute_shim.agent import usb_tree
from compute_shim.agent.inventory import clean
from compute_shim.bounded import Bounded
from compute_shim.objects import Reason, ReasonCode

# Octal escapes of /proc/PID/mountinfo and /proc/swaps (proc(5)).
_ESCAPE = re.compile(rb"\\([0-7]{3})")
# The kernel asks a removable disk whether its medium is still there; a broken one may never answer.
_OPEN_SECONDS = 5
_MOST_CALLS = 8
# The driver, or its medium, is gone: nothing that could be in use.
_ABSENT = (errno.ENOMEDIUM, errno.ENXIO, errno.ENODEV)
# linux/loop.h: LOOP_GET_STATUS64, and struct loop_info64: its size, where lo_rdevice is in it.
_LOOP_GET_STATUS64 = 0x4C05
_LOOP_INFO_SIZE = 232
_LOOP_RDEVICE = 16


class BlockUse:
    """Checks disks, and remembers those that do not respond. For one thread.

    :param dev: a directory in which device nodes can be opened.
    """

    def __init__(self, sys: Path, proc: Path, dev: Path) -> None:
        self._sys, self._proc, self._dev = sys, proc, dev
        self._bounded = Bounded(_MOST_CALLS)
        self._hanging: dict[str, _Look] = {}
        self._answers: dict[str, OSError | None] = {}
        self._loops: set[str] = set()

    def look(self, nodes: Collection[str]) -> None:
        """Check all disks of a pass, one after the other.

        :param nodes: as ``/sys/dev`` names them. Who has a partition is in the way of who wants the whole, so
            partitions are not asked for.
        """
        self._loops = loops(self._sys, self._dev) if nodes else set()
        self._hanging = {node: look for node, look in self._hanging.items() if look.at == node}
        self._answers = dict.fromkeys(self._hanging, TimeoutError())
        disks = [node for node in nodes if not _is_partition(node, self._sys)]
        while rest := [disk for disk in disks if disk not in self._answers]:
            one_look = _Look(rest, self._dev)
            try:
                self._bounded.run(one_look.run, _OPEN_SECONDS)
            except TimeoutError:
                at = one_look.at or rest[0]
                self._hanging[at] = one_look
                self._answers[at] = TimeoutError()
            self._answers |= one_look.found

    def reasons(self, nodes: Collection[str]) -> Iterator[Reason]:
        """How the host uses the block devices of a USB device, as of the last check."""
        for node in nodes:
            error = self._answers.get(node)
            if isinstance(error, TimeoutError):
                yield _unknown(node, self._sys, "it does not answer")
            elif error is not None and error.errno == errno.EBUSY:
                yield _holder(nodes, self._sys, self._proc)
            elif error is not None and error.errno not in _ABSENT:
                yield _unknown(node, self._sys, os.strerror(error.errno or 0))
        if self._loops.intersection(nodes):
            yield Reason(ReasonCode.HOST_VOLUME, "used by the host: behind a loop device")


class _Look:
    """One check of some disks, which can be abandoned.

    :ivar at: the disk that is being checked; None before and after.
    """

    def __init__(self, disks: Collection[str], dev: Path) -> None:
        self._disks = disks
        self._dev = dev
        self.found: dict[str, OSError | None] = {}
        self.at: str | None = None

    def run(self) -> None:
        for disk in self._disks:
            self.at = disk
            try:
                claim(disk, self._dev)
            except OSError as error:
                self.found[disk] = error
            else:
                self.found[disk] = None
        self.at = None


def is_disk(node: str, sys: Path) -> bool:
    """Whether a node is that of a whole disk."""
    return node.startswith("block/") and not _is_partition(node, sys)


def open_exclusively(node: str, dev: Path) -> int:
    """A block device for reading and writing, for as long as the descriptor is open.

    :raises OSError: EBUSY: something else has claimed it, or a part of it
    """
    with _opened(node, dev, os.O_EXCL, os.O_RDWR) as descriptor:
        return os.dup(descriptor)


def _is_partition(node: str, sys: Path) -> bool:
    return os.path.exists(f"{sys}/dev/{node}/partition")  # noqa: PTH110


def claim(node: str, dev: Path) -> None:
    """Open a block device exclusively and close it.

    :raises OSError: EBUSY: something else has claimed it, or a part of it
    """
    # udev's rules look at a disk again only if it was opened for writing.
    with _opened(node, dev, os.O_EXCL):
        pass


def loops(sys: Path, dev: Path) -> set[str]:
    """The block devices that are behind loop devices: the kernel does not count those as claimed."""
    found = set()
    for name in usb_tree.names(f"{sys}/block"):
        if name.startswith("loop") and os.path.exists(f"{sys}/block/{name}/loop"):  # noqa: PTH110
            with contextlib.suppress(OSError):
                found.add(_behind(f"block/{usb_tree.read(f'{sys}/block/{name}/dev')}", dev))
    return found


def _behind(loop: str, dev: Path) -> str:
    with _opened(loop, dev) as descriptor:
        info = fcntl.ioctl(descriptor, _LOOP_GET_STATUS64, bytes(_LOOP_INFO_SIZE))
    (number,) = struct.unpack_from("=Q", info, _LOOP_RDEVICE)
    return f"block/{os.major(number)}:{os.minor(number)}"


@contextlib.contextmanager
def _opened(node: str, dev: Path, flags: int = 0, access: int = os.O_RDONLY) -> Iterator[int]:
    """A block device, opened by a temporary node, because ``/dev`` can have another device under its name."""
    major, _, minor = node.removeprefix("block/").partition(":")
    path = f"{dev}/.usb-shim-{os.getpid()}-{major}-{minor}"
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(int(major), int(minor)))
    try:
        handle = os.open(path, os.O_PATH)
    finally:
        os.unlink(path)  # noqa: PTH108
    try:
        descriptor = os.open(f"/proc/self/fd/{handle}", access | os.O_NONBLOCK | flags)
    finally:
        os.close(handle)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _unknown(node: str, sys: Path, why: str) -> Reason:
    name = usb_tree.node_name(node, sys)
    return Reason(ReasonCode.HOST_USE, f"cannot tell whether the host uses {name}: {why}")


def _holder(nodes: Collection[str], sys: Path, proc: Path) -> Reason:
    """What has claimed one of these block devices, as far as it can be found out."""
    names = [usb_tree.node_name(node, sys) for node in nodes]
    numbers = [node.removeprefix("block/") for node in nodes]
    mounts = _mounts(proc)
    for disk in (*numbers, *names, *_same_btrfs(names, sys)):
        if disk in mounts:
            return Reason(ReasonCode.HOST_MOUNT, f"used by the host: mounted at {mounts[disk]}")
    if _swaps(proc).intersection(names):
        return Reason(ReasonCode.HOST_SWAP, "used by the host: swap space")
    for node in nodes:
        for holder in usb_tree.names(f"{sys}/dev/{node}/holders"):
            return Reason(ReasonCode.HOST_VOLUME, f"used by the host: part of {holder}")
    return Reason(ReasonCode.HOST_USE, f"used by the host: {names[0]} is open exclusively")


def _same_btrfs(names: Collection[str], sys: Path) -> list[str]:
    """The disks that share a btrfs with these; only one of them is named where it is mounted."""
    found = []
    for file_system in usb_tree.names(f"{sys}/fs/btrfs"):
        disks = [f"/dev/{disk}" for disk in usb_tree.names(f"{sys}/fs/btrfs/{file_system}/devices")]
        if set(disks).intersection(names):
            found += disks
    return found


def _mounts(proc: Path) -> dict[str, str]:
    """``major:minor`` and source -> mount point, in the first process's view and in those of all others."""
    found: dict[str, str] = {}
    for pid, note in itertools.chain([("1", "")], _other_views(proc)):
        for number, source, point in _mounted(f"{proc}/{pid}/mountinfo"):
            found.setdefault(number, point + note)
            found.setdefault(source, point + note)
    return found


def _other_views(proc: Path) -> Iterator[tuple[str, str]]:
    """A process of each other mount namespace, and what to say of it."""
    seen = {usb_tree.link(f"{proc}/1/ns/mnt"), None}
    for pid in filter(str.isdigit, usb_tree.names(str(proc))):
        view = usb_tree.link(f"{proc}/{pid}/ns/mnt")
        if view not in seen:
            seen.add(view)
            yield pid, f" for process {pid} in its own mount namespace"


def _mounted(path: str) -> Iterator[tuple[str, str, str]]:
    """Number, source and mount point of each mount; a file system on several devices has only sources."""
    for line in usb_tree.lines(path):
        fields = line.split()
        if b"-" in fields[6:]:
            source = fields[fields.index(b"-", 6) + 2]
            yield fields[2].decode(), clean(_unescape(source)), clean(_unescape(fields[4]))


def _swaps(proc: Path) -> set[str]:
    lines = list(usb_tree.lines(f"{proc}/swaps"))[1:]
    return {clean(_unescape(line.split()[0])) for line in lines if line.strip()}


def _unescape(value: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), value)
