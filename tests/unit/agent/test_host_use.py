# SPDX-License-Identifier: Apache-2.0
"""What the host itself uses is seen, by the port of its device, whatever it is called."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from compute_shim.agent import block_use, host_use, registered
from compute_shim.agent.host_use import HostUse
from compute_shim.agent.open_files import OpenFiles
from compute_shim.objects import Reason, ReasonCode
from tests.unit.agent.tree import Tree

# Nodes of this machine stand for those of a device: whoever has one "open" has a link to it.
FULL, ZERO = ("char", "1:7", "/dev/full"), ("char", "1:5", "/dev/zero")
PORT = "2-1.4"


class Host:
    """A host's sysfs and /proc, and what of it the agent finds in use."""

    def __init__(self, root: Path) -> None:
        self.tree = Tree(root)
        self.sys, self.proc = self.tree.sys, self.tree.proc
        self.servers: set[int] = set()
        self.pauses: list[float] = []
        self.after_pause: Callable[[], object] = lambda: None
        files = OpenFiles(self.proc, clock=lambda pid: None)
        self.use = HostUse(self.servers.__contains__, self.sys, self.proc, root, files, self._pause)

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.after_pause()

    def plug(self, port: str = PORT, driver: str | None = "usb-storage") -> Path:
        """A device with one interface; returns the directory of that."""
        device = self.tree.plug(port, 2, 3)
        (device / "authorized").write_text("1\n")
        self.node("char", f"189:{130 + len(port)}", f"bus/usb/002/{port}", device)
        return self.interface(device, "1.0", driver)

    def interface(self, device: Path, number: str, driver: str | None) -> Path:
        """One more interface of a device."""
        directory = device / f"{device.name}:{number}"
        (directory / "power").mkdir(parents=True)
        (directory / "ep_81").mkdir()
        (directory / "authorized").write_text("1\n")
        (self.sys / "bus/usb/devices" / directory.name).symlink_to(directory)
        if driver is not None:
            target = self.sys / "bus/usb/drivers" / driver
            target.mkdir(parents=True, exist_ok=True)
            (directory / "driver").symlink_to(target)
        return directory

    def node(self, kind: str, number: str, name: str, directory: Path) -> Path:
        """The kernel's entry of a device node."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "dev").write_text(f"{number}\n")
        with (directory / "uevent").open("a") as file:
            file.write(f"DEVNAME={name}\n")
        (self.sys / "dev" / kind).mkdir(parents=True, exist_ok=True)
        (self.sys / "dev" / kind / number).symlink_to(directory)
        return directory

    def opens(self, pid: int, *paths: str) -> None:
        """A process with these files open."""
        directory = self.proc / str(pid) / "fd"
        directory.mkdir(parents=True, exist_ok=True)
        (self.proc / str(pid) / "comm").write_text("pcscd\n")
        for path in paths:
            (directory / str(len(list(directory.iterdir())))).symlink_to(path)

    def mounts(self, pid: int, view: str, *lines: str) -> None:
        """A process and what is mounted in its namespace."""
        (self.proc / str(pid) / "ns").mkdir(parents=True)
        (self.proc / str(pid) / "ns/mnt").symlink_to(f"mnt:[{view}]")
        (self.proc / str(pid) / "mountinfo").write_text("".join(f"{line}\n" for line in lines))

    def reasons(self, *ports: str) -> dict[str, Reason]:
        return self.use.reasons(ports or [PORT])

    def code(self) -> str | None:
        reason = self.reasons().get(PORT)
        return None if reason is None else reason.code


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.mounts(1, "1", "21 1 8:99 / / rw shared:1 - ext4 /dev/vda1 rw")
    (host.proc / "swaps").write_text("Filename Type Size Used Priority\n")
    return host


@pytest.fixture
def claimed(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The block devices that something has claimed, or that fail in another way."""
    found: dict[str, int] = {}

    def claim(node: str, dev: Path) -> None:
        if node in found:
            raise OSError(found[node], os.strerror(found[node]))

    monkeypatch.setattr(block_use, "claim", claim)
    return found


def disk(host: Host, *partitions: int) -> Path:
    block = host.plug() / "host6/target6:0:0/6:0:0:0/block/sda"
    host.node("block", "8:0", "sda", block)
    (block / "holders").mkdir()
    for number in partitions:
        part = host.node("block", f"8:{number}", f"sda{number}", block / f"sda{number}")
        (part / "partition").write_text(f"{number}\n")
        (part / "holders").mkdir()
    return block


def test_a_disk_that_nobody_uses(host: Host, claimed: dict[str, int]) -> None:
    disk(host, 1)
    assert host.reasons() == {}
    assert host.pauses == []


@pytest.mark.parametrize(
    ("mountinfo", "point"),
    [
        ("30 21 8:0 / /srv rw shared:1 - ext4 /dev/sda rw", "/srv"),
        ("30 21 8:1 / /srv rw shared:1 - ext4 /dev/sda1 rw", "/srv"),
        ("30 21 8:0 / /a\\040b\\012c rw - vfat /dev/sda rw", "/a b�c"),
        ("30 21 0:45 /root /srv rw shared:1 master:2 - btrfs /dev/sda rw", "/srv"),
    ],
)
def test_a_mounted_disk(host: Host, claimed: dict[str, int], mountinfo: str, point: str) -> None:
    disk(host, 1)
    claimed["block/8:0"] = errno.EBUSY
    (host.proc / "1/mountinfo").write_text(mountinfo + "\n")
    assert host.reasons() == {PORT: Reason(ReasonCode.HOST_MOUNT, f"used by the host: mounted at {point}")}


def test_a_disk_that_is_mounted_elsewhere(host: Host, claimed: dict[str, int]) -> None:
    disk(host)
    claimed["block/8:0"] = errno.EBUSY
    host.mounts(77, "2", "30 21 8:0 / /srv rw - ext4 /dev/other rw")
    text = "used by the host: mounted at /srv for process 77 in its own mount namespace"
    assert host.reasons() == {PORT: Reason(ReasonCode.HOST_MOUNT, text)}


def test_the_second_disk_of_a_btrfs(host: Host, claimed: dict[str, int]) -> None:
    disk(host)
    claimed["block/8:0"] = errno.EBUSY
    (host.proc / "1/mountinfo").write_text("30 21 0:45 / /srv rw - btrfs /dev/sdb rw\n")
    for name in ("sda", "sdb"):
        (host.sys / "fs/btrfs/1234/devices" / name).mkdir(parents=True)
    assert host.reasons() == {PORT: Reason(ReasonCode.HOST_MOUNT, "used by the host: mounted at /srv")}


def test_swap(host: Host, claimed: dict[str, int]) -> None:
    disk(host)
    claimed["block/8:0"] = errno.EBUSY
    (host.proc / "swaps").write_text("Filename Type Size Used Priority\n/dev/sda partition 1 0 -2\n")
    assert host.reasons() == {PORT: Reason(ReasonCode.HOST_SWAP, "used by the host: swap space")}


def test_a_disk_in_a_volume_group(host: Host, claimed: dict[str, int]) -> None:
    (disk(host, 1) / "sda1/holders/dm-0").mkdir()
    claimed["block/8:0"] = errno.EBUSY
    assert host.reasons() == {PORT: Reason(ReasonCode.HOST_VOLUME, "used by the host: part of dm-0")}


def test_a_disk_that_something_unknown_has_claimed(host: Host, claimed: dict[str, int]) -> None:
    disk(host)
    claimed["block/8:0"] = errno.EBUSY
    text = "used by the host: /dev/sda is open exclusively"
    assert host.reasons() == {PORT: Reason(ReasonCode.HOST_USE, text)}


@pytest.mark.parametrize("error", [errno.ENOMEDIUM, errno.ENXIO, errno.ENODEV])
def test_a_drive_without_a_medium(host: Host, claimed: dict[str, int], error: int) -> None:
    disk(host)
    claimed["block/8:0"] = error
    assert host.reasons() == {}


@pytest.mark.parametrize("error", [errno.EPERM, errno.EACCES, errno.EIO])
def test_a_disk_that_cannot_be_asked_is_not_given_away(
    host: Host, claimed: dict[str, int], error: int
) -> None:
    disk(host)
    claimed["block/8:0"] = error
    text = f"cannot tell whether the host uses /dev/sda: {os.strerror(error)}"
    assert host.reasons() == {PORT: Reason(ReasonCode.HOST_USE, text)}


def test_a_disk_that_does_not_answer(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked once, until it answers; the others are not held up."""
    disk(host)
    answer, asked = threading.Event(), []

    def claim(node: str, dev: Path) -> None:
        asked.append(node)
        if node == "block/8:0":
            answer.wait()

    monkeypatch.setattr(block_use, "claim", claim)
    monkeypatch.setattr(block_use, "_OPEN_SECONDS", 2)
    disks = block_use.BlockUse(host.sys, host.proc, host.sys)
    for _ in range(20):
        disks.look(["block/8:0", "block/8:16"])
        [reason] = disks.reasons(["block/8:0"])
        assert reason.details == "cannot tell whether the host uses /dev/sda: it does not answer"
        assert list(disks.reasons(["block/8:16"])) == []
    assert asked.count("block/8:0") == 1
    answer.set()
    end = time.monotonic() + 60
    while list(disks.reasons(["block/8:0"])) and time.monotonic() < end:
        disks.look(["block/8:0", "block/8:16"])
    assert list(disks.reasons(["block/8:0", "block/8:16"])) == []


def test_a_disk_behind_a_loop_device(
    host: Host, claimed: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk(host)
    monkeypatch.setattr(block_use, "loops", lambda sys, dev: {"block/8:0"})
    assert host.reasons()[PORT] == Reason(ReasonCode.HOST_VOLUME, "used by the host: behind a loop device")


@pytest.mark.parametrize(("flags", "used"), [("0x1003", True), ("0x1002", False)])
def test_a_network_interface(host: Host, flags: str, used: bool) -> None:
    network = host.plug(driver="cdc_ether") / "net/enx00"
    network.mkdir(parents=True)
    (network / "flags").write_text(f"{flags}\n")
    up = Reason(ReasonCode.HOST_NETWORK, "used by the host: network interface enx00 is up")
    assert host.reasons() == ({PORT: up} if used else {})


def test_a_network_interface_of_a_bridge_is_used_though_it_is_down(host: Host) -> None:
    network = host.plug(driver="cdc_ether") / "net/enx00"
    network.mkdir(parents=True)
    (network / "flags").write_text("0x1002\n")
    (network / "upper_br0").mkdir()
    text = "used by the host: network interface enx00 is part of br0"
    assert host.reasons() == {PORT: Reason(ReasonCode.HOST_NETWORK, text)}


def test_a_network_interface_in_another_namespace(host: Host) -> None:
    """Nothing of it is to be seen, but the driver and the place where it would be."""
    (host.plug(driver="cdc_ether") / "net").mkdir()
    text = "used by the host: its network interface is in another network namespace"
    assert host.reasons() == {PORT: Reason(ReasonCode.HOST_NETWORK, text)}


@pytest.mark.parametrize("up", [True, False])
def test_a_bluetooth_adapter(host: Host, monkeypatch: pytest.MonkeyPatch, up: bool) -> None:
    asked: list[int] = []
    monkeypatch.setattr(registered, "_is_up", lambda adapter: asked.append(adapter) or up)
    (host.plug(driver="btusb") / "bluetooth/hci3").mkdir(parents=True)
    assert host.code() == (ReasonCode.HOST_NETWORK if up else None)
    assert set(asked) == {3}


def test_a_tty_that_a_process_holds(host: Host) -> None:
    kind, number, path = FULL
    host.node(kind, number, "ttyUSB0", host.plug(driver="ftdi_sio") / "ttyUSB0/tty/ttyUSB0")
    assert host.reasons() == {}
    host.opens(42, "/etc/passwd", path)
    text = "used by the host: process 42 (pcscd) holds /dev/ttyUSB0"
    assert host.reasons() == {PORT: Reason(ReasonCode.HOST_PROCESS, text)}


def test_a_tty_that_is_the_kernels_console(host: Host) -> None:
    kind, number, _ = FULL
    host.node(kind, number, "ttyUSB0", host.plug(driver="ftdi_sio") / "ttyUSB0/tty/ttyUSB0")
    (host.proc / "consoles").write_text("tty0   -WU (EC p  )   4:1\nttyUSB0   -W- (E  p  )   1:7\n")
    text = "used by the host: ttyUSB0 is a kernel console"
    assert host.reasons() == {PORT: Reason(ReasonCode.HOST_USE, text)}


def whole_device(host: Host, driver: str | None) -> None:
    """A device whose own node is one that can be opened here."""
    kind, number, _ = FULL
    interface = host.plug(driver=driver)
    host.node(kind, number, "bus/usb/002/003", interface.parent)


@pytest.mark.parametrize("driver", [None, "usbfs"])
def test_a_process_that_has_the_whole_device(host: Host, driver: str | None) -> None:
    whole_device(host, driver)
    host.opens(42, "/dev/full")
    assert host.code() == ReasonCode.HOST_PROCESS


def test_a_claim_of_a_process_that_cannot_be_seen(host: Host) -> None:
    """The open file may be on its way from one process to another."""
    host.plug(driver="usbfs")
    text = "used by the host: a process has claimed an interface"
    assert host.reasons() == {PORT: Reason(ReasonCode.HOST_PROCESS, text)}


def test_what_a_server_has_is_not_used_by_the_host(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compute_shim.agent.host_use._WHOLE_DEVICE", "char/1:")
    whole_device(host, "usbfs")
    host.servers.add(42)
    host.opens(42, "/dev/full")
    assert host.reasons() == {}
    host.opens(43, "/dev/full")
    assert host.reasons()[PORT].details == "used by the host: process 43 (pcscd) holds /dev/bus/usb/002/2-1.4"
    # The server would lose it, so who only looks at it is given more time.
    assert host.pauses == [host_use._LONG_MOMENT_SECONDS]


def test_a_server_that_has_a_disk_of_the_host(host: Host, claimed: dict[str, int]) -> None:
    """As a virtual disk: then it is the host's driver that is used."""
    kind, number, path = FULL
    disk(host)
    host.node(kind, number, "sg0", host.sys / f"devices/pci0000:00/usb2/{PORT}/{PORT}:1.0/host6/sg0")
    host.servers.add(42)
    host.opens(42, path)
    assert host.code() == ReasonCode.HOST_PROCESS


def test_a_mouse_that_is_read_together_with_all_others(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compute_shim.agent.host_use._ALL_MICE", "char/1:7")
    host.node(
        "char", "13:33", "input/mouse1", host.plug(driver="usbhid") / "0003:0627:0001.0001/input/mouse1"
    )
    host.node("char", "13:66", "input/event2", host.plug("1-2", driver="usbhid") / "input/event2")
    host.opens(42, "/dev/full")
    text = "used by the host: process 42 (pcscd) holds /dev/input/mouse1"
    assert host.reasons(PORT, "1-2") == {PORT: Reason(ReasonCode.HOST_PROCESS, text)}


def test_what_a_process_is_called_is_not_trusted(host: Host) -> None:
    whole_device(host, None)
    host.opens(42, "/dev/full")
    (host.proc / "42/comm").write_text("a\x1b[31m\n")
    details = host.reasons()[PORT].details
    assert details is not None
    assert details.isprintable()


@pytest.mark.parametrize("name", ["input", "tty", "sound", "video4linux", "usbmisc", "host3", "hidraw"])
def test_what_is_used_by_its_nodes_only(host: Host, name: str) -> None:
    (host.plug(driver="a-driver") / name).mkdir()
    assert host.reasons() == {}


def test_a_hid_device(host: Host) -> None:
    hid = host.plug(driver="usbhid") / "0003:0627:0001.0001"
    for name in ("input", "hidraw", "power"):
        (hid / name).mkdir(parents=True)
    assert host.reasons() == {}
    (hid / "nfc").mkdir()
    text = "used by the host: driver usbhid has registered nfc"
    assert host.reasons() == {PORT: Reason(ReasonCode.HOST_USE, text)}


def test_what_nobody_thought_of_counts_as_used(host: Host) -> None:
    (host.plug(driver="a-driver") / "quantum0").mkdir()
    text = "used by the host: driver a-driver has registered quantum0"
    assert host.reasons() == {PORT: Reason(ReasonCode.HOST_USE, text)}


def test_a_driver_of_which_nothing_is_seen_counts_as_used(host: Host) -> None:
    host.plug(driver="a-driver")
    assert host.reasons() == {PORT: Reason(ReasonCode.HOST_USE, "used by the host: driver a-driver")}


def test_a_driver_registers_at_one_of_its_interfaces(host: Host) -> None:
    control = host.plug(driver="snd-usb-audio")
    host.interface(control.parent, "1.1", "snd-usb-audio")
    (control / "sound").mkdir()
    assert host.reasons() == {}


def test_a_number_that_became_another_devices(host: Host) -> None:
    kind, number, path = FULL
    for port in (PORT, "1-2"):
        (host.plug(port, driver="ftdi_sio") / "tty").mkdir()
    entry = host.sys / "dev" / kind / number
    host.node(kind, number, "ttyUSB0", host.sys / f"devices/pci0000:00/usb2/{PORT}/{PORT}:1.0/tty/ttyUSB0")
    host.opens(42, path)
    assert list(host.reasons(PORT, "1-2")) == [PORT]
    # Made before the old entry goes: the kernel never uses the number of an inode twice, others do.
    other = host.node(
        "other", number, "ttyUSB0", host.sys / "devices/pci0000:00/usb2/1-2/1-2:1.0/tty/ttyUSB0"
    )
    assert other.exists()
    (host.sys / "dev/other" / number).rename(entry)
    assert list(host.reasons(PORT, "1-2")) == ["1-2"]


def test_what_is_registered_later(host: Host) -> None:
    interface = host.plug(driver="a-driver")
    (interface / "tty").mkdir()
    assert host.reasons() == {}
    (interface / "quantum0").mkdir()
    assert host.code() == ReasonCode.HOST_USE
    (interface / "quantum0").rmdir()
    assert host.code() is None


def test_a_device_that_no_driver_wants(host: Host) -> None:
    host.plug(driver=None)
    assert host.reasons() == {}


def unconfigured(host: Host, authorized: str) -> Path:
    device = host.tree.plug(PORT, 2, 3)
    (device / "authorized").write_text(f"{authorized}\n")
    return device


def test_a_device_that_is_not_authorized(host: Host) -> None:
    unconfigured(host, "0")
    [reason] = host.reasons().values()
    assert reason.code == ReasonCode.NOT_AUTHORIZED
    assert reason.text == (
        "not authorized on the host: 2-1.4/authorized in sysfs is 0, by usbguard or authorized_default"
    )


def test_an_interface_that_is_not_authorized(host: Host) -> None:
    (host.plug(driver=None) / "authorized").write_text("0\n")
    assert host.code() == ReasonCode.NOT_AUTHORIZED


def test_a_device_without_a_configuration(host: Host) -> None:
    unconfigured(host, "1")
    assert host.code() == ReasonCode.NOT_CONFIGURED


def test_a_device_that_is_shared_over_the_network(host: Host) -> None:
    device = unconfigured(host, "1")
    (host.sys / "bus/usb/drivers/usbip-host").mkdir(parents=True)
    (device / "driver").symlink_to(host.sys / "bus/usb/drivers/usbip-host")
    assert host.reasons()[PORT] == Reason(ReasonCode.HOST_USE, "used by the host: driver usbip-host")


def test_the_device_behind_a_hub_is_meant_and_not_the_hub(host: Host) -> None:
    kind, number, path = FULL
    host.plug("1-2", driver="hub")
    behind = host.plug("1-2.3", driver="usbhid")
    host.node(kind, number, "hidraw0", host.sys / f"devices/pci0000:00/usb2/1-2/{behind.name}/hidraw/hidraw0")
    (behind / "hidraw").mkdir()
    host.opens(42, path)
    assert list(host.reasons("1-2.3")) == ["1-2.3"]


def test_a_device_on_another_bus_behind_a_usb_device_is_the_usb_devices(host: Host) -> None:
    """``5-0050`` is a chip on an I2C bus, not a port."""
    kind, number, path = FULL
    chip = host.plug(driver="usbhid") / "0003:10C4:EA90.0001/input/i2c-5/5-0050/eeprom"
    host.node(kind, number, "eeprom", chip)
    host.opens(42, path)
    assert host.code() == ReasonCode.HOST_PROCESS


def test_a_node_that_is_not_below_a_usb_device_is_of_no_interest(host: Host) -> None:
    kind, number, path = FULL
    host.plug(driver=None)
    host.node(kind, number, "vda", host.sys / "devices/pci0000:00/0000:00:01.0/virtio0/block/vda")
    host.opens(42, path)
    assert host.reasons() == {}


def test_what_lasts_a_moment_is_no_use(host: Host) -> None:
    """udev and lsusb open what is plugged in."""
    whole_device(host, None)
    host.opens(42, "/dev/full")
    host.after_pause = lambda: (host.proc / "42/fd/0").unlink()
    assert host.reasons() == {}
    assert len(host.pauses) == 1


def test_what_is_known_to_last_is_not_waited_for_again(host: Host) -> None:
    whole_device(host, None)
    host.opens(42, "/dev/full")
    assert [host.code() for _ in range(3)] == [ReasonCode.HOST_PROCESS] * 3
    assert len(host.pauses) == 1
    (host.proc / "42/fd/0").unlink()
    assert host.code() is None
    host.opens(42, "/dev/full")
    assert host.code() == ReasonCode.HOST_PROCESS
    assert len(host.pauses) == 2


def test_what_vanishes_while_it_is_read_is_not_there(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is pulled out takes its files with it, between any two reads."""
    disk(host, 1)
    whole_device_files = sorted((host.sys / "devices").rglob("*"), reverse=True)
    found = os.readlink
    gone: list[str] = []

    def readlink(path: str) -> str:
        for file in whole_device_files if not gone else ():
            file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
        gone.append(path)
        return found(path)

    monkeypatch.setattr(os, "readlink", readlink)
    host.reasons()
    assert gone


def test_no_process_is_looked_at_for_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Iterable[str]] = []
    monkeypatch.setattr(OpenFiles, "holders", lambda self, nodes: looked.append(nodes) or {})
    assert host.use.reasons([]) == {}
    assert looked == []
