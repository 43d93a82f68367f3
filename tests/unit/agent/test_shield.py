# SPDX-License-Identifier: Apache-2.0
"""The host's drivers and services are kept from what is offered. The lab shows that the kernel obeys."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_shim.agent import udev_rules
from compute_shim.agent.shield import Shield
from compute_shim.objects import Device, Plugged, ReasonCode
from tests.unit.agent.model import device

STICK = device(1, serial="LABSTICK01", port="2-1", classes=("080650",))
NAMELESS = device(2, serial="", port="2-2")
MOUNTED = dataclasses.replace(
    device(3, serial="HOME", port="2-3"), blocked_code=ReasonCode.HOST_MOUNT, blocked_reason="mounted"
)
REFUSED = dataclasses.replace(device(4, serial="NO", port="2-4"), blocked_code=ReasonCode.NOT_OFFERED)


class Host:
    """A host's sysfs, udev's rules, and what `[usb] device_spec` offers."""

    def __init__(self, root: Path) -> None:
        self.usb = root / "sys/bus/usb"
        self.rules = root / "rules.d/10-usb-shim.rules"
        self.rules.parent.mkdir()
        self.offered = {"2-1", "2-2", "2-3"}
        self.reloads = 0
        for one in (STICK, NAMELESS, MOUNTED, REFUSED):
            directory = self.usb / "devices" / one.port
            directory.mkdir(parents=True)
            (directory / "idVendor").write_text(f"{one.vendor_id}\n")
            (directory / "idProduct").write_text(f"{one.product_id}\n")
            self.bind(one, "usb-storage")

    def bind(self, one: Device, driver: str) -> None:
        """A driver takes the first interface of a device."""
        (self.usb / "drivers" / driver).mkdir(parents=True, exist_ok=True)
        interface = self.usb / "devices" / f"{one.port}:1.0"
        interface.mkdir(exist_ok=True)
        (interface / "driver").unlink(missing_ok=True)
        (interface / "driver").symlink_to(self.usb / "drivers" / driver)

    def shield(self) -> Shield:
        """The shield of an agent that starts now."""
        return Shield(
            lambda one: one.port in self.offered,
            rules=self.rules,
            sys=self.usb.parents[1],
            reload=self._reload,
        )

    def _reload(self) -> None:
        self.reloads += 1

    def written(self, file: str) -> str | None:
        """What was written into a file below /sys/bus/usb last; nothing is left of it."""
        path = self.usb / file
        if not path.exists():
            return None
        text = path.read_text()
        path.unlink()
        return text

    def unbound(self, driver: str = "usb-storage") -> str | None:
        """The interface that a driver was taken off last."""
        return self.written(f"drivers/{driver}/unbind")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_driver_is_taken_off_what_is_offered_and_free(host: Host) -> None:
    host.shield().update([STICK])
    assert host.unbound() == "2-1:1.0"


@pytest.mark.parametrize("other", [MOUNTED, REFUSED])
def test_nothing_else_is_touched(host: Host, other: Device) -> None:
    """What the host uses when the agent starts is one of these."""
    host.shield().update([other])
    assert host.unbound() is None
    assert not host.rules.exists()


def test_what_a_guest_has_is_not_taken_off_it(host: Host) -> None:
    host.bind(STICK, "usbfs")
    host.shield().update([STICK])
    assert host.unbound("usbfs") is None
    assert "LABSTICK01" in host.rules.read_text()


def test_udev_is_told_of_each_device_once(host: Host) -> None:
    shield = host.shield()
    for _ in range(3):
        shield.update([STICK, NAMELESS, MOUNTED])
    rules = [line for line in host.rules.read_text().splitlines() if not line.startswith("#")]
    assert len(rules) == 2
    assert 'ATTRS{serial}=="LABSTICK01"' in rules[1]
    assert 'KERNELS=="2-2"' in rules[0]
    assert host.reloads == 1


def test_another_number_after_a_replug_is_no_change(host: Host) -> None:
    shield = host.shield()
    shield.update([STICK])
    shield.update([dataclasses.replace(STICK, device=77)])
    assert host.reloads == 1


def test_it_stays_while_the_device_is_unplugged_or_used_and_while_no_agent_runs(host: Host) -> None:
    host.shield().update([STICK])
    for devices in ([], [dataclasses.replace(STICK, blocked_code=ReasonCode.HOST_PROCESS)]):
        host.shield().update(devices)
        assert "LABSTICK01" in host.rules.read_text()
    assert host.reloads == 1


def test_what_is_no_longer_offered_is_given_back(host: Host) -> None:
    shield = host.shield()
    shield.update([STICK, NAMELESS])
    host.offered.remove("2-1")
    shield.update([NAMELESS])
    assert host.written("drivers_probe") == "2-1:1.0"
    assert host.written("devices/2-1/uevent") == "change"
    assert "LABSTICK01" not in host.rules.read_text()


def test_what_is_no_longer_offered_is_given_back_by_the_next_agent(host: Host) -> None:
    host.shield().update([STICK])
    host.offered.clear()
    host.shield().update([])
    assert host.written("drivers_probe") == "2-1:1.0"
    assert not host.rules.exists()


def test_another_device_in_the_port_is_left_alone(host: Host) -> None:
    shield = host.shield()
    shield.update([STICK])
    (host.usb / "devices/2-1/idProduct").write_text("ffff\n")
    host.offered.clear()
    shield.update([])
    assert host.written("drivers_probe") is None


def test_all_of_it_can_be_removed(host: Host) -> None:
    host.shield().update([STICK])
    host.shield().remove()
    assert host.written("drivers_probe") == "2-1:1.0"
    assert not host.rules.exists()
    assert host.reloads == 2


def test_a_file_of_another_version_is_replaced(host: Host) -> None:
    host.rules.write_text('#: {"colour": "red"}\n#: nonsense\nSUBSYSTEMS=="usb", ENV{SYSTEMD_READY}="0"\n')
    host.shield().update([STICK])
    assert "nonsense" not in host.rules.read_text()
    host.rules.write_bytes(b"\xff")
    host.shield().update([STICK])
    assert "LABSTICK01" in host.rules.read_text()
    host.rules.write_bytes(b"\xff")
    host.shield().remove()
    assert not host.rules.exists()


@pytest.mark.parametrize("error", [FileNotFoundError("udevadm"), subprocess.TimeoutExpired("udevadm", 10)])
def test_a_host_without_udev_is_shielded_as_far_as_it_goes(host: Host, error: Exception) -> None:
    def fail() -> None:
        raise error

    shield = Shield(lambda one: True, rules=host.rules, sys=host.usb.parents[1], reload=fail)
    shield.update([STICK])
    assert host.unbound() == "2-1:1.0"


def test_a_directory_that_cannot_be_written_is_no_end(host: Host) -> None:
    shield = Shield(lambda one: True, rules=host.rules / "absent/x.rules", sys=host.usb.parents[1])
    shield.update([STICK])
    assert host.unbound() == "2-1:1.0"


def test_a_device_that_goes_away_meanwhile_is_no_error(host: Host) -> None:
    (host.usb / "devices/2-1:1.0/driver").unlink()
    (host.usb / "devices/2-1:1.0/driver").symlink_to(host.usb / "drivers/gone")
    host.shield().update([STICK])


def test_a_device_with_ever_new_serials_does_not_fill_the_disk() -> None:
    known: list[Plugged] = []
    for number in range(1000):
        known = udev_rules.merged(known, [dataclasses.replace(STICK, serial=f"S{number}")])
    assert len(known) == 256
    assert any(one.serial == "S999" for one in known)


_strings = st.text(max_size=20) | st.sampled_from(
    ['A"', "*", "?", "[a]", "A|B", "\\", "A B", "a  b ", "$x%k"]
)


@given(_strings, _strings)
def test_no_string_of_a_device_changes_a_rule(
    tmp_path_factory: pytest.TempPathFactory, serial: str, name: str
) -> None:
    file = tmp_path_factory.mktemp("rules") / "x.rules"
    hostile = dataclasses.replace(NAMELESS, serial=serial, name=name, vendor=name, product=name)
    written = udev_rules.merged([], [hostile])
    udev_rules.write(file, written)
    assert udev_rules.read(file) == written
    [rule] = [line for line in file.read_bytes().decode().split("\n") if line and not line.startswith("#")]
    place = re.sub(r'^.*ATTRS{idProduct}=="0001", (.*?), ENV{.*$', r"\1", rule)
    assert place == 'KERNELS=="2-2"' or re.fullmatch(r'ATTRS{serial}=="[^"*?\[\]|\\$%]+"', place)
