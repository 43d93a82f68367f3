# SPDX-License-Identifier: Apache-2.0
"""What is offered is kept from the host's own drivers and services: a real kernel, Debian's own rules."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lab.host.usb import EVERYTHING
from novaclient_usb.reason_codes import ReasonCode
from tests.lab.world import World, until

_RULES = "/etc/udev/rules.d/10-usb-shim.rules"
# So much of a stick is written here, and put back.
_MIB = 1 << 20


class Shielded:
    """A world whose agent shields, or does not."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.agent = world.stack.agent
        self.run = world.host.run

    def restart(self, device_spec: str = EVERYTHING, *, shield: bool = True) -> None:
        """Start the agent anew."""
        self.agent.stop()
        self.agent.configure(device_spec, shield=shield)
        self.agent.start()

    def reload(self, device_spec: str = EVERYTHING, *, shield: bool = True) -> None:
        """Let the agent read other rules."""
        self.agent.configure(device_spec, shield=shield)
        self.agent.reload()

    def driver(self, port: str) -> str:
        """The driver of the device in a port; nothing if it has none."""
        link = f"/sys/bus/usb/devices/{port}:1.0/driver"
        return self.run(f"readlink {link}", check=False).stdout.strip().rpartition("/")[2]

    def wait_driver(self, port: str, driver: str) -> None:
        """Until a device has a driver, or none."""
        until(lambda: self.driver(port) == driver, f"the driver of {port} is not {driver!r}")

    def volumes(self) -> str:
        """The logical volumes that are active, once udev is done."""
        return self.run("udevadm settle; ls /dev/mapper").stdout


@pytest.fixture
def shielded(world: World) -> Iterator[Shielded]:
    """A world that shields; the agent that does not comes back after it."""
    shielded = Shielded(world)
    yield shielded
    shielded.restart(shield=False)
    until(lambda: not shielded.run(f"ls {_RULES}", check=False).stdout, "udev's rules are still there")


@pytest.fixture
def volume(shielded: Shielded) -> Iterator[str]:
    """The port of a stick, LABSTICK02, that a tenant has made a physical volume of."""
    disk = shielded.world.disk("2-2")
    shielded.run(f"dd if={disk} of=/run/before bs={_MIB} count=1")
    shielded.run("modprobe dm-mod")
    shielded.run(f"pvcreate -ff -y {disk}; vgcreate tenant {disk}; lvcreate -y -n data -l 50%VG tenant")
    # LVM activates a group once by itself, and notes here that it has.
    shielded.run("vgchange -an tenant; udevadm settle; rm -rf /run/lvm/*_online")
    yield "2-2"
    shielded.world.restore()
    shielded.restart(shield=False)
    disk = shielded.world.disk("2-2")
    shielded.run(f"vgchange -an tenant; dd if=/run/before of={disk} bs={_MIB} conv=fsync")


def test_without_a_shield_the_host_takes_a_tenant_s_volume(shielded: Shielded, volume: str) -> None:
    """What the others here are about: Debian's own rules of lvm2 do it."""
    shielded.world.host.replug("stick2")
    until(lambda: "tenant-data" in shielded.volumes(), "LVM does not activate the volume")


def test_a_server_with_a_volume_gets_its_stick_back(shielded: Shielded, volume: str) -> None:
    shielded.restart()
    # The agent that did not shield has said that the host uses it; this one is up before it says more.
    shielded.world.wait_state("LABSTICK02", "available")
    shielded.world.attach("LABSTICK02")
    shielded.world.virsh("destroy", "one")
    shielded.world.wait_state("LABSTICK02", "waiting", ReasonCode.SERVER_OFF)
    shielded.wait_driver(volume, "")
    assert "tenant-data" not in shielded.volumes()
    shielded.world.virsh("start", "one")
    shielded.world.wait_state("LABSTICK02", "attached")
    assert shielded.world.held_by("LABSTICK02") == ["one"]
    assert "tenant-data" not in shielded.volumes()


def test_a_stick_that_comes_while_no_agent_runs_is_left_alone(shielded: Shielded, volume: str) -> None:
    shielded.restart()
    shielded.wait_driver(volume, "")
    shielded.agent.stop()
    shielded.world.host.replug("stick2")
    shielded.world.disk(volume)
    assert "tenant-data" not in shielded.volumes()
    assert "ID_FS_TYPE" not in shielded.run(f"udevadm info {shielded.world.disk(volume)}").stdout
    shielded.agent.start()
    shielded.wait_driver(volume, "")


def test_a_driver_that_comes_back_is_taken_off_again(shielded: Shielded) -> None:
    shielded.restart()
    shielded.wait_driver("2-1", "")
    before = shielded.world.device("LABSTICK01")["device"]
    shielded.world.host.replug("stick1")
    until(
        lambda: shielded.world.device("LABSTICK01")["device"] not in (None, before),
        "the stick is not plugged in again",
    )
    shielded.world.wait_state("LABSTICK01", "available")
    shielded.wait_driver("2-1", "")
    shielded.world.attach("LABSTICK01")
    assert shielded.world.held_by("LABSTICK01") == ["one"]
    # QEMU gives the host's driver back what it took from it.
    shielded.world.detach("LABSTICK01")
    shielded.wait_driver("2-1", "")


def test_what_is_no_longer_offered_is_the_host_s_again(shielded: Shielded) -> None:
    shielded.restart()
    shielded.wait_driver("2-1", "")
    shielded.wait_driver("2-2", "")
    shielded.reload(json.dumps([{"serial": "LABSTICK01", "allow": False}, {}]))
    disk = shielded.world.disk("2-1")
    assert "ID_SERIAL_SHORT=LABSTICK01" in shielded.run(f"udevadm settle; udevadm info {disk}").stdout
    assert shielded.driver("2-2") == ""
    shielded.reload(shield=False)
    shielded.world.disk("2-2")
    until(lambda: not shielded.run(f"ls {_RULES}", check=False).stdout, "udev's rules are still there")


def test_the_operator_takes_it_off(shielded: Shielded) -> None:
    shielded.restart()
    shielded.wait_driver("2-1", "")
    shielded.agent.stop()
    assert shielded.driver("2-1") == ""
    shielded.agent.manage("shield", "remove")
    shielded.world.disk("2-1")
    assert shielded.run(f"ls {_RULES}", check=False).stdout == ""
    shielded.agent.start()


def test_what_the_host_uses_when_the_agent_starts_stays_its_own(shielded: Shielded) -> None:
    shielded.agent.stop()
    disk = shielded.world.disk("2-3")
    shielded.run(f"dd if={disk} of=/run/before bs={_MIB} count=1 && mkswap {disk} && swapon {disk}")
    shielded.restart()
    shielded.wait_driver("2-1", "")
    assert shielded.driver("2-3") == "usb-storage"
    assert "LABSTICK01" in shielded.run(["cat", _RULES]).stdout
    shielded.run(["swapoff", disk])
    shielded.wait_driver("2-3", "")
    shielded.restart(shield=False)
    shielded.run(f"dd if=/run/before of={shielded.world.disk('2-3')} bs={_MIB} conv=fsync")


def test_a_wide_rule_leaves_the_host_its_keyboard_and_mouse(shielded: Shielded) -> None:
    shielded.restart("{}")
    shielded.wait_driver("1-7.2", "")  # a tablet, which no BIOS could use
    assert shielded.driver("1-4") == "usbhid"
    assert shielded.driver("1-7.1") == "usbhid"


def test_the_operator_reads_rules_and_places_off_the_host(world: World) -> None:
    rule = '2: {"shared": true, "handover": "none"}'
    listed = world.stack.agent.manage("devices")
    [line] = [line for line in listed.splitlines() if "LABSTICK01" in line]
    assert "2-1" in line
    assert rule in line
    assert line.split()[-1] == "yes"
    checked = world.stack.agent.manage("device-spec", "check")
    assert rule.replace("2:", "rule 2 matches:") in checked
    assert "vendor_id is '46f4'" in checked
