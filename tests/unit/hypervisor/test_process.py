# SPDX-License-Identifier: Apache-2.0
"""What a process has open, from a tree like /proc."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_shim.hypervisor.libvirt import process


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


def open_devices(root: Path, domain: str) -> set[tuple[int, int]] | None:
    return process.open_devices(domain, root / "run", root / "proc")


def test_the_devices_that_are_open(root: Path) -> None:
    assert open_devices(root, "instance-1") == {(2, 13), (1, 3)}


def test_none_is_open(root: Path) -> None:
    for descriptor in ("1", "3"):
        (root / "proc/42/fd" / descriptor).unlink()
    assert open_devices(root, "instance-1") == set()


def test_a_process_that_is_not_known_or_gone(root: Path) -> None:
    (root / "run/instance-2.pid").write_text("43")
    (root / "run/instance-3.pid").write_text("")
    assert [open_devices(root, name) for name in ("instance-2", "instance-3", "instance-4")] == [None] * 3
