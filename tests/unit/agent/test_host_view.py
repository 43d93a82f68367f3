# SPDX-License-Identifier: Apache-2.0
"""An agent that does not see all of the host refuses to start, and says what to change."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import pyudev

from compute_shim.agent import block_use, host_view

# What doc/source/security/agent-needs.rst lists:
# CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_MKNOD, CAP_CHECKPOINT_RESTORE.
NEEDED = (2, 19, 27, 40)


class View:
    """What an agent sees: a container's /proc, /sys and /run/udev."""

    def __init__(self, root: Path) -> None:
        self.proc, self.sys, self.udev = root / "proc", root / "sys", root / "udev"
        for directory in (
            self.proc / "self/ns",
            self.proc / "1/ns",
            self.proc / "1/fd",
            self.sys / "dev/char",
        ):
            directory.mkdir(parents=True)
        self.udev.mkdir()
        (self.proc / "swaps").touch()
        (self.proc / "1/fd/0").symlink_to("/dev/null")
        for kind in ("pid", "user", "net"):
            (self.proc / "self/ns" / kind).symlink_to(f"/proc/self/ns/{kind}")
            (self.proc / "1/ns" / kind).symlink_to(f"/proc/self/ns/{kind}")
        self.allow(*NEEDED)

    def allow(self, *capabilities: int) -> None:
        bits = sum(1 << number for number in capabilities)
        (self.proc / "self/status").write_text(f"Name:\tagent\nCapEff:\t{bits:016x}\nSeccomp:\t0\n")

    def complaint(self) -> str | None:
        try:
            host_view.refuse_blind(self.proc, self.sys, Path("/dev"), self.udev)
        except host_view.CannotSeeHost as error:
            return str(error)
        return None


@pytest.fixture
def view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> View:
    first = {kind: Path("/proc/self/ns", kind).stat().st_ino for kind in ("pid", "user")}
    monkeypatch.setattr(host_view, "_FIRST", first)
    monkeypatch.setattr(block_use, "claim", no_such_disk)
    return View(tmp_path)


def no_such_disk(node: str, dev: Path) -> None:
    raise OSError(errno.ENXIO, "No such device or address")


def test_who_sees_all_goes_on(view: View) -> None:
    assert view.complaint() is None


@pytest.mark.parametrize("kind", ["pid", "user", "net"])
def test_a_namespace_of_its_own(view: View, kind: str) -> None:
    for process in ("self", "1"):
        (view.proc / process / "ns" / kind).unlink()
        (view.proc / process / "ns" / kind).symlink_to(
            f"/proc/self/ns/{'mnt' if process == 'self' else kind}"
        )
    complaint = view.complaint()
    assert complaint is not None
    assert f"a {kind} namespace of its own (container: use {host_view._OPTIONS[kind]})" in complaint


@pytest.mark.parametrize(
    ("missing", "name"),
    [
        (2, "CAP_DAC_READ_SEARCH or CAP_DAC_OVERRIDE"),
        (19, "CAP_SYS_PTRACE"),
        (27, "CAP_MKNOD"),
        (40, "CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN"),
    ],
)
def test_each_capability_is_needed(view: View, missing: int, name: str) -> None:
    view.allow(*(number for number in NEEDED if number != missing))
    assert f"{name} is missing" in (view.complaint() or "")


def test_capabilities_that_do_as_well(view: View) -> None:
    view.allow(1, 19, 21, 27)
    assert view.complaint() is None


@pytest.mark.parametrize("error", [errno.EPERM, errno.EACCES, errno.EROFS])
def test_a_disk_that_cannot_be_asked(view: View, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    def claim(node: str, dev: Path) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(block_use, "claim", claim)
    assert f"a node made in /dev: {os.strerror(error)} (container: mount" in (view.complaint() or "")


def test_open_files_that_are_hidden(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    def readlink(path: str) -> str:
        raise PermissionError

    monkeypatch.setattr(os, "readlink", readlink)
    assert "apparmor=unconfined" in (view.complaint() or "")


@pytest.mark.parametrize(("path", "name"), [("proc/swaps", "proc"), ("sys/dev", "sysfs"), ("udev", "udev")])
def test_each_path_is_needed(view: View, path: str, name: str) -> None:
    (view.proc.parent / path).rename(view.proc.parent / "gone")
    complaint = view.complaint()
    assert complaint is not None
    assert name in complaint
    assert "mount the host's" in complaint


def test_libudev_is_needed(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ImportError("No library named udev")

    monkeypatch.setattr(pyudev, "Context", refuse)
    assert "install libudev1" in (view.complaint() or "")


def test_all_that_is_missing_is_named_in_one_line(view: View) -> None:
    view.allow()
    view.udev.rmdir()
    complaint = view.complaint()
    assert complaint is not None
    assert complaint.count(" is missing") == 5
    assert "\n" not in complaint
