# SPDX-License-Identifier: Apache-2.0
"""Wipes returned devices in a separate thread.

The kernel writes the zeroes (``BLKZEROOUT``), or discards the blocks if the device then reads zeroes. Each
disk is opened exclusively, so that a disk in use by the host is never overwritten.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from oslo_log import log

from compute_shim.agent import block_use
from compute_shim.agent.planner import Wipe
from compute_shim.agent.usb_tree import UsbTree, node_name
from compute_shim.objects import Reason, ReasonCode

LOG = log.getLogger(__name__)

# linux/fs.h: _IO(0x12, 127) with start and length, and _IOR(0x12, 114, size_t).
_BLKZEROOUT = 0x127F
_BLKGETSIZE64 = 0x80081272
# Between two pieces it is seen whether to go on.
_PIECE = 8 << 20
# So that the history of a device does not fill with its progress.
_STEP_PERCENT = 10
# What udev and the driver need to make the disk, and to be done with it.
_PATIENCE_SECONDS = 30
_POLL_SECONDS = 0.2
#: Of a device that is wiped.
DONE = Reason(ReasonCode.WIPED)
# USB mass storage (https://www.usb.org/defined-class-codes), as sysfs has it.
_MASS_STORAGE = "08"


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a wipe.

    :param percent: of the capacity.
    :param why: `ReasonCode.WIPING`, ``WIPED``, or ``WIPE_FAILED`` with the cause.
    """

    percent: int
    why: Reason

    @property
    def over(self) -> bool:
        """Whether the wipe has ended."""
        return self.why.code != ReasonCode.WIPING


class _Stopped(Exception):
    """The wipe was cancelled."""


class Wiper:
    """Wipes one device at a time, and keeps the result of each while it is wanted."""

    def __init__(self, sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> None:
        self._changed: Callable[[], None] = lambda: None
        self._sys, self._dev = sys, dev
        self._tree = UsbTree(sys)
        self._lock = threading.Condition()
        self._wanted: dict[Wipe, None] = {}
        self._progress: dict[Wipe, Progress] = {}
        self._current: Wipe | None = None
        self._started = False

    def listen(self, changed: Callable[[], None]) -> None:
        """Set a callback for progress, called in the wiper's thread."""
        self._changed = changed

    def want(self, wipes: Iterable[Wipe]) -> None:
        """Set the devices to wipe."""
        with self._lock:
            self._wanted = dict.fromkeys(wipes)
            self._progress = {
                wipe: progress for wipe, progress in self._progress.items() if wipe in self._wanted
            }
            if self._wanted and not self._started:
                self._started = True
                threading.Thread(target=self._run, name="wiper", daemon=True).start()
            self._lock.notify()

    def progress(self) -> Mapping[str, Progress]:
        """Device id -> progress of each wipe that was started."""
        with self._lock:
            return {wipe.device_id: progress for wipe, progress in self._progress.items()}

    def busy(self) -> str | None:
        """The id of the device that is being written, wanted or not."""
        with self._lock:
            return None if self._current is None else self._current.device_id

    def ports(self) -> Collection[str]:
        """The ports of devices that are being wiped; they need the host's driver."""
        with self._lock:
            over = {wipe for wipe, progress in self._progress.items() if progress.over}
            wipes = {*self._wanted, *filter(None, [self._current])} - over
            return {wipe.device.port for wipe in wipes}

    def _run(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._next() is not None)
                wipe = self._current = self._next()
            assert wipe is not None
            try:
                self._wipe(wipe)
            except _Stopped:
                LOG.info("Device %s is not to be wiped any more", wipe.device_id)
            except OSError as error:
                LOG.warning("Cannot wipe device %s: %s", wipe.device_id, error)
                why = Reason(ReasonCode.WIPE_FAILED, f"not wiped: {error.strerror or error}")
                self._note(wipe, self._percent(wipe), why)
            finally:
                with self._lock:
                    self._current = None
                self._changed()

    def _next(self) -> Wipe | None:
        return next((wipe for wipe in self._wanted if wipe not in self._progress), None)

    def _percent(self, wipe: Wipe) -> int:
        with self._lock:
            known = self._progress.get(wipe)
        return wipe.percent if known is None else known.percent

    def _note(self, wipe: Wipe, percent: int, why: Reason) -> None:
        with self._lock:
            if wipe in self._wanted:
                self._progress[wipe] = Progress(percent, why)

    def _refuse_unwanted(self, wipe: Wipe) -> None:
        with self._lock:
            if wipe not in self._wanted:
                raise _Stopped

    def _wipe(self, wipe: Wipe) -> None:
        self._note(wipe, wipe.percent, Reason(ReasonCode.WIPING))
        disks = self._disks(wipe)
        LOG.info("Wiping device %s from %s %% on", wipe.device_id, wipe.percent)
        opened: list[int] = []
        try:
            for disk in disks:
                opened.append(self._open(wipe, disk))
            self._zero(wipe, opened)
        finally:
            for descriptor in opened:
                os.close(descriptor)
        LOG.info("Device %s is wiped", wipe.device_id)
        self._note(wipe, 100, DONE)

    def _disks(self, wipe: Wipe) -> list[str]:
        """The disks of a device, once the host's driver is bound."""
        port = wipe.device.port
        self._bind(port)

        def whole() -> list[str]:
            nodes = self._tree.nodes([port])[port]
            return [node for node in nodes if block_use.is_disk(node, self._sys)]

        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (found := whole()):
            self._refuse_unwanted(wipe)
            if time.monotonic() > deadline:
                raise OSError(errno.ENXIO, "the host's kernel makes no disk of it")
            time.sleep(_POLL_SECONDS)
        return found

    def _bind(self, port: str) -> None:
        """Bind the host's driver that the shield has unbound."""
        usb = self._sys / "bus/usb"
        for interface in sorted((usb / "devices").glob(f"{port}:*")):
            try:
                stores = (interface / "bInterfaceClass").read_text().strip() == _MASS_STORAGE
                if stores and not (interface / "driver").exists():
                    (usb / "drivers_probe").write_text(interface.name)
            except OSError as error:
                LOG.debug("%s gets no driver: %s", interface.name, error)

    def _open(self, wipe: Wipe, disk: str) -> int:
        """Open a disk exclusively.

        udev can hold it briefly (EBUSY). One that has just appeared in sysfs cannot be opened yet (ENXIO;
        Linux, block/genhd.c: device_add_disk calls bdev_add after device_add).
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            self._refuse_unwanted(wipe)
            try:
                return block_use.open_exclusively(disk, self._dev)
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENXIO) or time.monotonic() > deadline:
                    raise OSError(error.errno, f"{node_name(disk, self._sys)}: {error.strerror}") from error
            time.sleep(_POLL_SECONDS)

    def _zero(self, wipe: Wipe, disks: Collection[int]) -> None:
        sizes = [size_of(disk) for disk in disks]
        total = sum(sizes)
        done = total * wipe.percent // 100
        told = wipe.percent
        begin = 0
        for disk, size in zip(disks, sizes, strict=True):
            # Whole pieces from the beginning of each disk.
            position = max(0, done - begin) // _PIECE * _PIECE
            while position < size:
                self._refuse_unwanted(wipe)
                length = min(_PIECE, size - position)
                zero_out(disk, position, length)
                position += length
                percent = 100 * (begin + position) // total
                if percent >= told + _STEP_PERCENT:
                    told = percent
                    self._note(wipe, percent, Reason(ReasonCode.WIPING))
                    self._changed()
            os.fsync(disk)
            begin += size


def zero_out(disk: int, start: int, length: int) -> None:
    """Overwrite a part of an open disk, by bytes; raises OSError."""
    fcntl.ioctl(disk, _BLKZEROOUT, struct.pack("=QQ", start, length))


def size_of(disk: int) -> int:
    """Bytes of an open disk."""
    answer = fcntl.ioctl(disk, _BLKGETSIZE64, bytes(8))
    (size,) = struct.unpack("=Q", answer)
    return int(size)
