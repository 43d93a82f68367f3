# SPDX-License-Identifier: Apache-2.0
"""What the host itself uses is seen, by the port of its device."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_shim.agent import host_use
from compute_shim.objects import Reason, ReasonCode
from tests.unit.agent.tree import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    (tree.proc / "self/mountinfo").write_text("21 1 8:99 / / rw shared:1 - ext4 /dev/vda1 rw\n")
    (tree.proc / "swaps").write_text("Filename Type Size Used Priority\n")
    return tree


def reasons(tree: Tree) -> dict[str, Reason]:
    return host_use.reasons(tree.sys, tree.proc)


def disk(tree: Tree) -> Path:
    stick = tree.plug("2-1.4", 2, 3)
    node = tree.node("block", "sda", stick, dev="8:0")
    (node / "holders").mkdir()
    return node


def test_a_disk_that_nobody_uses(tree: Tree) -> None:
    disk(tree)
    assert reasons(tree) == {}


@pytest.mark.parametrize(
    ("mountinfo", "point"),
    [
        ("30 21 8:0 / /srv rw shared:1 - ext4 /dev/sda rw", "/srv"),
        ("30 21 8:0 / /a\\040b\\012c rw - vfat /dev/sda rw", "/a b�c"),
        ("30 21 0:45 /root /srv rw shared:1 master:2 - btrfs /dev/sda rw", "/srv"),
    ],
)
def test_a_mounted_disk(tree: Tree, mountinfo: str, point: str) -> None:
    disk(tree)
    (tree.proc / "self/mountinfo").write_text(mountinfo + "\n")
    assert reasons(tree) == {"2-1.4": Reason(ReasonCode.HOST_MOUNT, f"used by the host: mounted at {point}")}


def test_swap(tree: Tree) -> None:
    disk(tree)
    (tree.proc / "swaps").write_text("Filename Type Size Used Priority\n/dev/sda partition 1 0 -2\n")
    assert reasons(tree) == {"2-1.4": Reason(ReasonCode.HOST_SWAP, "used by the host: swap space")}


def test_a_disk_in_a_volume_group(tree: Tree) -> None:
    (disk(tree) / "holders/dm-0").mkdir()
    assert reasons(tree) == {"2-1.4": Reason(ReasonCode.HOST_VOLUME, "used by the host: part of dm-0")}


@pytest.mark.parametrize(("flags", "used"), [("0x1003", True), ("0x1002", False)])
def test_a_network_interface(tree: Tree, flags: str, used: bool) -> None:
    tree.node("net", "enx00", tree.plug("1-2", 1, 4), flags=flags)
    up = Reason(ReasonCode.HOST_NETWORK, "used by the host: network interface enx00 is up")
    assert reasons(tree) == ({"1-2": up} if used else {})


def test_a_tty_that_a_process_holds(tree: Tree) -> None:
    tree.node("tty", "ttyUSB0", tree.plug("1-2", 1, 4))
    assert reasons(tree) == {}
    (tree.proc / "42/fd").mkdir(parents=True)
    (tree.proc / "42/fd/3").symlink_to("/dev/ttyUSB0")
    assert reasons(tree) == {
        "1-2": Reason(ReasonCode.HOST_PROCESS, "used by the host: process 42 holds /dev/ttyUSB0")
    }


@pytest.mark.parametrize(("count", "looked_for"), [("0", False), ("1", True)])
def test_nobody_is_looked_for_who_holds_a_tty_whose_driver_nobody_uses(
    tree: Tree, count: str, looked_for: bool
) -> None:
    tty = tree.node("tty", "ttyUSB0", tree.plug("1-2", 1, 4))
    (tty / "device/driver/module").mkdir(parents=True)
    (tty / "device/driver/module/refcnt").write_text(f"{count}\n")
    (tree.proc / "42/fd").mkdir(parents=True)
    (tree.proc / "42/fd/3").symlink_to("/dev/ttyUSB0")
    assert bool(reasons(tree)) == looked_for


def test_the_device_behind_a_hub_is_meant_and_not_the_hub(tree: Tree) -> None:
    hub = tree.plug("1-2", 1, 4)
    behind = hub / "1-2.3"
    behind.mkdir()
    tree.node("net", "enx00", behind, flags="0x1003")
    assert list(reasons(tree)) == ["1-2.3"]


def test_a_disk_that_is_not_usb_is_of_no_interest(tree: Tree) -> None:
    node = tree.sys / "devices/pci0000:00/0000:00:01.0/virtio0/block/vda"
    node.mkdir(parents=True)
    (tree.sys / "class/block").mkdir(parents=True)
    (tree.sys / "class/block/vda").symlink_to(node)
    (node / "dev").write_text("8:99\n")
    assert reasons(tree) == {}
