# SPDX-License-Identifier: Apache-2.0
"""What a process has, from trees like /proc and /sys."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from compute_shim.hypervisor.libvirt import qemu_process


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/instance-1.pid").write_text("42")
    descriptors = tmp_path / "proc/42/fd"
    descriptors.mkdir(parents=True)
    for number, target in enumerate(
        ["/dev/null", "/dev/bus/usb/002/013", "socket:[1]", "/dev/bus/usb/001/003"]
    ):
        (descriptors / str(number)).symlink_to(target)
    return tmp_path


def held_devices(root: Path, domain: str) -> set[tuple[int, int]] | None:
    return qemu_process.held_devices(domain, root / "run", root / "proc", root / "sys")


def bind(root: Path, minor: int, driver: str) -> Path:
    """A driver for the interface of a device; returns the link."""
    interface = root / f"sys/dev/char/189:{minor}/2-1:1.0"
    interface.mkdir(parents=True)
    target = root / "sys/bus/usb/drivers" / driver
    target.mkdir(parents=True)
    (interface / "driver").symlink_to(target)
    return interface / "driver"


def test_the_devices_that_are_open(root: Path) -> None:
    assert held_devices(root, "instance-1") == {(2, 13), (1, 3)}


def test_what_a_driver_of_the_host_has_is_not_held(root: Path) -> None:
    bind(root, 140, "usb-storage")
    bind(root, 2, "usbfs")
    assert held_devices(root, "instance-1") == {(1, 3)}


def test_a_driver_that_is_bound_for_a_moment_changes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = bind(root, 140, "usb-storage")
    # Not time.sleep itself: threads of other tests call it.
    monkeypatch.setattr(qemu_process, "time", SimpleNamespace(sleep=lambda seconds: link.unlink()))
    assert held_devices(root, "instance-1") == {(2, 13), (1, 3)}


def test_a_driver_that_is_unbound_while_it_is_read_is_none(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = bind(root, 140, "usb-storage")
    found = os.listdir

    def unbound(directory: str) -> list[str]:
        names = found(directory)
        link.unlink(missing_ok=True)
        return names

    monkeypatch.setattr(os, "listdir", unbound)
    assert held_devices(root, "instance-1") == {(2, 13), (1, 3)}


def test_none_is_open(root: Path) -> None:
    for descriptor in ("1", "3"):
        (root / "proc/42/fd" / descriptor).unlink()
    assert held_devices(root, "instance-1") == set()


def test_a_process_that_is_not_known_or_gone(root: Path) -> None:
    (root / "run/instance-2.pid").write_text("43")
    (root / "run/instance-3.pid").write_text("")
    assert [held_devices(root, name) for name in ("instance-2", "instance-3", "instance-4")] == [None] * 3


def test_the_processes_of_domains(root: Path) -> None:
    """The daemon has a file among theirs."""
    (root / "run/driver.pid").write_text("7")
    (root / "run/instance-2.pid").write_text("")
    found = [pid for pid in (1, 7, 42) if qemu_process.is_domain(pid, root / "run")]
    assert found == [42]


def test_a_socket_is_given_to_the_user_of_the_domain(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "chown", lambda *arguments: given.append(arguments))
    qemu_process.let_in("instance-1", "/run/x.sock", root / "run", root / "proc")
    assert given == [("/run/x.sock", (root / "proc/42").stat().st_uid, -1)]
    qemu_process.let_in("instance-2", "/run/x.sock", root / "run", root / "proc")
    assert len(given) == 1
