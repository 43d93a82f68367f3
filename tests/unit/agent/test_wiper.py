# SPDX-License-Identifier: Apache-2.0
"""What is stored on a device is overwritten, all of it, and nothing of any other device."""

from __future__ import annotations

import dataclasses
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from compute_shim.agent import block_use, wiper
from compute_shim.agent.planner import Wipe
from compute_shim.agent.wiper import Progress, Wiper
from compute_shim.objects import ReasonCode
from tests.unit.agent.test_agent import until
from tests.unit.db.test_states import STICK

PORT = "2-1"
MIB = 1 << 20


def wipe(device_id: str = "one", generation: int = 1, percent: int = 0, plug_id: str = "boot/1/1") -> Wipe:
    return Wipe(device_id, generation, plug_id, dataclasses.replace(STICK, port=PORT), percent)


class Disks:
    """Files in the place of disks, and a tree of sysfs with a device that has them."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.sys = root / "sys"
        self.root = root
        self.files: dict[str, Path] = {}
        self.error: OSError | None = None
        #: So many times a disk cannot be opened yet.
        self.early = 0
        self.gate = threading.Event()
        self.gate.set()
        self.written: list[tuple[int, int]] = []
        (self.sys / "bus/usb/devices").mkdir(parents=True)
        patch.setattr(block_use, "open_exclusively", self._open)
        patch.setattr(wiper, "zero_out", self._zero)
        patch.setattr(wiper, "size_of", lambda descriptor: os.fstat(descriptor).st_size)
        patch.setattr(wiper, "_POLL_SECONDS", 0.01)
        patch.setattr(wiper, "_PATIENCE_SECONDS", 0.1)

    def add(self, number: str, size: int) -> Path:
        """A disk of the device; sysfs lists its node."""
        file = self.files[f"block/{number}"] = self.root / number
        file.write_bytes(b"secret" * (size // 6) + b"s" * (size % 6))
        target = self.sys / f"devices/usb2/{PORT}/{PORT}:1.0/block/{number}"
        target.mkdir(parents=True)
        link = self.sys / f"dev/block/{number}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
        return file

    def _open(self, node: str, dev: Path) -> int:
        if self.error is not None:
            raise self.error
        if self.early:
            self.early -= 1
            raise OSError(errno.ENXIO, "No such device or address")
        return os.open(self.files[node], os.O_RDWR)

    def _zero(self, descriptor: int, start: int, length: int) -> None:
        assert self.gate.wait(20)
        self.written.append((start, length))
        os.pwrite(descriptor, bytes(length), start)


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disks:
    return Disks(tmp_path, monkeypatch)


@pytest.fixture
def started(disks: Disks) -> Callable[[Wipe], Wiper]:
    def start(one: Wipe) -> Wiper:
        it = Wiper(disks.sys, disks.root)
        it.want([one])
        return it

    return start


def over(it: Wiper) -> Progress:
    until(lambda: any(progress.over for progress in it.progress().values()))
    [progress] = it.progress().values()
    return progress


def test_all_disks_of_a_device_are_zeroes_then(disks: Disks, started: Callable[[Wipe], Wiper]) -> None:
    first, second = disks.add("8:0", 20 * MIB + 512), disks.add("8:16", 3 * MIB)
    assert over(started(wipe())) == Progress(100, wiper.DONE)
    for file in (first, second):
        assert not file.read_bytes().strip(b"\0")


def test_it_goes_on_where_it_was(disks: Disks, started: Callable[[Wipe], Wiper]) -> None:
    disks.add("8:0", 40 * MIB)
    assert over(started(wipe(percent=50))).percent == 100
    # Whole pieces of 8 MiB: what may not have been written is written again.
    assert disks.written[0][0] == 16 * MIB
    assert sum(length for _, length in disks.written) == 24 * MIB


def test_progress_is_told_in_steps(disks: Disks) -> None:
    disks.add("8:0", 400 * MIB)
    it = Wiper(disks.sys, disks.root)
    seen: list[int] = []
    it.listen(lambda: seen.extend(progress.percent for progress in it.progress().values()))
    it.want([wipe()])
    over(it)
    until(lambda: len(seen) > 0 and seen[-1] == 100)
    assert len(set(seen)) <= 11
    assert seen == sorted(seen)


def test_what_is_not_to_be_wiped_any_more_is_left(disks: Disks, started: Callable[[Wipe], Wiper]) -> None:
    disks.add("8:0", 80 * MIB)
    disks.gate.clear()
    it = started(wipe())
    until(lambda: it.busy() == "one")
    it.want([])
    assert it.progress() == {}
    assert it.busy() == "one", "it is still being written to"
    disks.gate.set()
    until(lambda: it.busy() is None)
    assert len(disks.written) <= 1


def test_what_the_host_has_is_never_written_to(disks: Disks, started: Callable[[Wipe], Wiper]) -> None:
    file = disks.add("8:0", MIB)
    before = file.read_bytes()
    disks.error = OSError(errno.EBUSY, "Device or resource busy")
    progress = over(started(wipe()))
    assert progress.why.code == ReasonCode.WIPE_FAILED
    assert progress.why.details == "not wiped: block/8:0: Device or resource busy"
    assert file.read_bytes() == before


def test_a_disk_that_has_just_come_is_waited_for(disks: Disks, started: Callable[[Wipe], Wiper]) -> None:
    """The kernel shows it in sysfs a moment before it lets anybody open it."""
    file = disks.add("8:0", MIB)
    disks.early = 2
    assert over(started(wipe())) == Progress(100, wiper.DONE)
    assert file.read_bytes() == bytes(MIB)


def test_without_a_disk_it_fails(started: Callable[[Wipe], Wiper]) -> None:
    why = over(started(wipe())).why
    assert (why.code, why.details) == (
        ReasonCode.WIPE_FAILED,
        "not wiped: the host's kernel makes no disk of it",
    )


def test_what_failed_is_tried_again_when_it_is_plugged_in_anew(
    disks: Disks, started: Callable[[Wipe], Wiper]
) -> None:
    it = started(wipe())
    over(it)
    disks.add("8:0", MIB)
    it.want([wipe()])
    assert over(it).why.code == ReasonCode.WIPE_FAILED
    it.want([wipe(plug_id="boot/1/2")])
    until(lambda: [progress.why for progress in it.progress().values()] == [wiper.DONE])


def test_the_driver_is_lent_until_it_is_done(disks: Disks, started: Callable[[Wipe], Wiper]) -> None:
    disks.add("8:0", MIB)
    interface = disks.sys / f"bus/usb/devices/{PORT}:1.0"
    interface.mkdir()
    (interface / "bInterfaceClass").write_text("08\n")
    (disks.sys / "bus/usb/drivers_probe").write_text("")
    disks.gate.clear()
    it = started(wipe())
    until(lambda: it.busy() == "one")
    assert set(it.ports()) == {PORT}
    disks.gate.set()
    over(it)
    assert set(it.ports()) == set()
    assert (disks.sys / "bus/usb/drivers_probe").read_text() == f"{PORT}:1.0"


def test_one_after_the_other(disks: Disks) -> None:
    disks.add("8:0", MIB)
    it = Wiper(disks.sys, disks.root)
    it.want([wipe("one"), wipe("two")])
    until(lambda: [progress.over for progress in it.progress().values()] == [True, True])
