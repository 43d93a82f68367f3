# SPDX-License-Identifier: Apache-2.0
"""What people read when libvirt or QEMU refuses, with servers made to be refused; nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from keystoneauth1 import exceptions

from lab.cloud.site import VENV
from lab.host import domains
from lab.stack_nova import HOST
from novaclient_usb import client
from novaclient_usb.reason_codes import ReasonCode
from tests.lab.gadget import gadget
from tests.lab.world import PROJECT, World, until

# A USB input device with reports of 512 bytes: more than the 64 that fit a packet at 12 Mb/s (USB 2.0
# specification, 5.7.3). Its report descriptor: one vendor-defined input.
BIG_REPORTS = {
    "protocol": b"0",
    "subclass": b"0",
    "report_length": b"512",
    "report_desc": bytes.fromhex("0600ff0901a1010901150026ff00750896000281 02c0"),
}


@contextmanager
def odd_server(world: World, usb: str, machine: str = "q35") -> Iterator[None]:
    """A server "odd" with another USB controller, or none, meanwhile."""
    server = world.servers["odd"] = domains.Server("odd", project_id=PROJECT)
    domains.define(world.host, domains.halted(server, machine, usb))
    world.virsh("start", "odd")
    world.stack.record_server(server, HOST)
    try:
        yield
    finally:
        for attachment in world.admin.attachments.list(server.uuid):
            world.admin.attachments.delete(server.uuid, attachment["device_id"])
            world.admin.attachments.wait_detached(server.uuid, attachment["device_id"])
        world.virsh("destroy", "odd")
        world.virsh("undefine", "odd")
        del world.servers["odd"]


def in_port(world: World, port: str) -> dict[str, Any]:
    [found] = [device for device in world.devices() if device["port"] == port]
    return found


def attach(world: World, port: str) -> None:
    """Ask that the odd server gets the device in a port."""
    world.usb.attachments.create(world.servers["odd"].uuid, in_port(world, port)["id"])


def wait_state(world: World, port: str, state: str, code: str | None = None) -> None:
    until(
        lambda: (in_port(world, port)["state"], in_port(world, port)["reason_code"]) == (state, code),
        f"the device in port {port} is not {state} ({code})",
    )


def unmet(world: World, port: str) -> list[str]:
    """Why the device in a port cannot be attached to the odd server."""
    found = world.usb.devices.explain(in_port(world, port)["id"], world.servers["odd"].uuid)
    return [condition["condition"] for condition in found["conditions"] if not condition["met"]]


def details(world: World, port: str) -> str:
    """What an administrator reads about the device in a port."""
    return world.admin.devices.get(in_port(world, port)["id"])["state_reason"]


def test_a_server_without_a_usb_controller(world: World) -> None:
    with odd_server(world, "none"):
        attach(world, "2-1")
        wait_state(world, "2-1", "failed", ReasonCode.NO_USB_CONTROLLER)
        assert world.hostdevs()["odd"] == []


@pytest.mark.parametrize(
    ("machine", "usb", "ports", "more_ports_help"),
    [
        ("pc", "piix3-uhci", ["2-1", "2-2"], True),
        ("q35", "qemu-xhci", ["2-1", "2-2", "2-3", "1-4"], False),
    ],
    ids=["two", "four"],
)
def test_a_server_whose_ports_are_all_in_use(
    world: World, machine: str, usb: str, ports: list[str], more_ports_help: bool
) -> None:
    with odd_server(world, usb, machine):
        for port in ports:
            attach(world, port)
            wait_state(world, port, "attached")
        until(lambda: "usb_port" in unmet(world, "1-6"), "it is not known how many ports the server has")
        with pytest.raises(exceptions.Conflict) as refused:
            attach(world, "1-6")
        assert client.reason_code(refused.value) == ReasonCode.NO_FREE_USB_PORT
        assert ("qemu-xhci" in refused.value.message) == more_ports_help
        assert len(world.hostdevs()["odd"]) == len(ports)
        world.detach("LABSTICK01", "odd")
        attach(world, "1-6")
        wait_state(world, "1-6", "attached")


def test_a_controller_that_does_not_suit_the_speed(world: World) -> None:
    with odd_server(world, "ehci"):
        attach(world, "2-1")
        wait_state(world, "2-1", "attached")
        attach(world, "1-6")
        wait_state(world, "1-6", "failed", ReasonCode.SPEED_MISMATCH)
        assert "(ehci) does not support 12 Mb/s" in details(world, "1-6")
        assert len(world.hostdevs()["odd"]) == 1


def test_a_controller_that_is_too_slow(world: World) -> None:
    """The one that Nova gives a server with a USB tablet. A stick works with it, only slowly."""
    with odd_server(world, "piix3-uhci", "pc"):
        attach(world, "2-1")
        wait_state(world, "2-1", "attached")
        with gadget(world.host, "", "", "BIG", function="hid.0", attributes=BIG_REPORTS):
            until(lambda: any(device["serial"] == "BIG" for device in world.devices()), "it is not listed")
            device = world.device("BIG")
            assert device["speed"] == "480"
            attach(world, device["port"])
            wait_state(world, device["port"], "failed", ReasonCode.SPEED_MISMATCH)
            assert "(piix3-uhci) does not support 480 Mb/s" in details(world, device["port"])
            assert len(world.hostdevs()["odd"]) == 1
            world.detach("BIG", "odd")
        world.wait_state("BIG", "unavailable", ReasonCode.UNPLUGGED)
        world.admin.devices.delete(device["id"])


# Attaches what is in port 2-1, or would be there with another device number, and prints why it is refused.
_ATTACH = """
import dataclasses, sys
from compute_shim.agent import inventory
from compute_shim.hypervisor.base import HypervisorError
from compute_shim.hypervisor.libvirt.qemu import Qemu
from compute_shim.objects import Device

server, *number = sys.argv[1:]
device = Device(identity="stick", **vars(inventory.Inventory().read("2-1")))
if number:
    device = dataclasses.replace(device, device=int(number[0]))
driver = Qemu("qemu:///system")
try:
    driver.attach(server, "nobody", device)
except HypervisorError as error:
    print(error)
driver.close()
"""


def driver_refuses(world: World, *arguments: str) -> str:
    """What the driver says when it is told to attach, in the host, whatever the service knows."""
    return world.host.run([str(VENV / "bin/python"), "-c", _ATTACH, *arguments]).stdout


def test_whose_the_device_is_stays_a_secret(world: World) -> None:
    world.their_usb.attachments.create(world.servers["theirs"].uuid, world.device("LABSTICK01")["id"])
    until(lambda: world.held_by("LABSTICK01") == ["theirs"], "their server does not get the stick")
    refusal = driver_refuses(world, world.servers["one"].uuid)
    assert "another server on the same host" in refusal
    assert "theirs" not in refusal
    assert world.hostdevs()["one"] == []
    assert world.held_by("LABSTICK01") == ["theirs"]


def test_a_device_that_is_gone_leaves_nothing_behind(world: World) -> None:
    """libvirt says that it attached it."""
    assert "QEMU did not open the device" in driver_refuses(world, world.servers["one"].uuid, "99")
    assert world.hostdevs()["one"] == []


def test_a_device_that_the_host_takes_back(world: World) -> None:
    """QEMU notices nothing, and goes on having it open."""
    world.attach("LABSTICK01")
    world.stack.agent.stop()
    world.shell("echo 2-1:1.0 > /sys/bus/usb/drivers/usb-storage/bind")
    disk = world.disk("2-1")
    world.shell(f"mkdir -p /mnt/stick; mke2fs -q -F {disk} && mount {disk} /mnt/stick")
    try:
        world.stack.agent.start()
        world.wait_state("LABSTICK01", "failed", ReasonCode.HOST_MOUNT)
        assert world.hostdevs()["one"] == []
    finally:
        world.shell("umount /mnt/stick")
    world.wait_state("LABSTICK01", "attached")
    assert world.held_by("LABSTICK01") == ["one"]

    world.shell("echo 2-1:1.0 > /sys/bus/usb/drivers/usb-storage/bind")
    has_driver = "ls /sys/bus/usb/devices/2-1:1.0/driver"
    until(lambda: world.host.run(has_driver, check=False).returncode, "the host keeps the server's stick")
    world.wait_state("LABSTICK01", "attached")
    assert world.held_by("LABSTICK01") == ["one"]
