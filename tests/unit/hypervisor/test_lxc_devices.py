# SPDX-License-Identifier: Apache-2.0
"""What the processes of containers have open, from a tree like /proc, and the nodes on the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_shim.hypervisor.libvirt import lxc_devices


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Process 42 is in a container, 7 on the host; 43 has just ended."""
    process(tmp_path, "self", "pid:[1]")
    process(tmp_path, "7", "pid:[1]", "/dev/bus/usb/001/003")
    process(tmp_path, "42", "pid:[2]", "/dev/null", "/dev/bus/usb/002/013 (deleted)", "/mnt/usb/002/014")
    (tmp_path / "43").mkdir()
    (tmp_path / "uptime").touch()
    return tmp_path


def process(proc: Path, name: str, namespace: str, *opened: str) -> None:
    (proc / name / "ns").mkdir(parents=True)
    (proc / name / "ns/pid").symlink_to(namespace)
    (proc / name / "fd").mkdir()
    for number, path in enumerate(opened):
        (proc / name / "fd" / str(number)).symlink_to(path)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param((2, 13), True, id="its node is gone"),
        pytest.param((2, 14), True, id="mounted elsewhere"),
        pytest.param((1, 3), False, id="a process of the host"),
        pytest.param((2, 1), False, id="nobody"),
    ],
)
def test_a_program_in_a_container_has_it_open(proc: Path, address: tuple[int, int], expected: bool) -> None:
    assert lxc_devices.is_open(address, proc) is expected


def test_no_node_in_a_container_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "box.pid").write_text("42")
    assert not lxc_devices.has_node("box", (2, 3), tmp_path, tmp_path)
    assert not lxc_devices.has_node("crate", (2, 3), tmp_path, tmp_path)


def test_the_node_of_a_device_that_is_there_is_left_alone(tmp_path: Path) -> None:
    node = tmp_path / "002/003"
    node.parent.mkdir()
    node.touch()
    with lxc_devices.node_on_host((2, 3), tmp_path) as plugged:
        assert plugged
    assert node.exists()


def test_a_process_that_runs_in_a_container(tmp_path: Path) -> None:
    """Process 40 is the controller of a container whose first process is 41; 43 has just ended."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/box.pid").write_text("40")
    for pid, parent in ((7, 1), (40, 1), (41, 40), (42, 41), (44, 43)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a) b (c) S {parent} 0 0\n")
    found = [
        pid for pid in (1, 7, 40, 41, 42, 43, 44) if lxc_devices.is_inside(pid, tmp_path / "run", tmp_path)
    ]
    assert found == [40, 41, 42]
