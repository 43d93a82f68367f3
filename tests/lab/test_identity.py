# SPDX-License-Identifier: Apache-2.0
"""The right device, on a real kernel: twins, swapped bus numbers, both halves of a connector, changed ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lab.host import usb
from novaclient_usb.reason_codes import ReasonCode
from tests.lab.gadget import gadget
from tests.lab.world import PATIENCE, World, bind_controllers, until

_PHONE, _DEBUGGING = "18d1:4ee1", "18d1:4ee7"


def at(world: World, port: str, controller: str = usb.CONTROLLER) -> dict[str, Any]:
    """The device that the service sees in a port of a controller, as ``lab host`` numbers them."""
    found = [device for device in world.devices() if _is_at(world, device, port, controller)]
    assert len(found) == 1, f"in port {port} of {controller}: {found}"
    return found[0]


def _is_at(world: World, device: dict[str, Any], port: str, controller: str) -> bool:
    if device["reason_code"] == ReasonCode.UNPLUGGED or device["port"].partition("-")[2] != port:
        return False
    path = world.host.run(f"readlink -f /sys/bus/usb/devices/{device['port']}", check=False).stdout
    return f"/0000:00:{usb.CONTROLLERS[controller]}.0/" in path


def appear(world: World, port: str, controller: str = usb.CONTROLLER) -> str:
    """The id of a device in a port, once the service sees it."""
    until(
        lambda: any(_is_at(world, device, port, controller) for device in world.devices()),
        f"nothing in port {port} of {controller}",
    )
    return at(world, port, controller)["id"]


def attach(world: World, device_id: str, server: str) -> None:
    client = world.their_usb if server == "theirs" else world.usb
    world.wait_free(device_id)
    client.attachments.create(world.servers[server].uuid, device_id)
    client.attachments.wait_attached(world.servers[server].uuid, device_id, PATIENCE)


def wait(world: World, device_id: str, state: str, code: str | None = None) -> None:
    """Until a device is in a state for this reason."""

    def state_now() -> tuple[str, str | None]:
        device = world.admin.devices.get(device_id)
        return device["state"], device["reason_code"]

    try:
        until(lambda: state_now() == (state, code), f"{device_id} is not {state} ({code})")
    except AssertionError as error:
        error.add_note(f"it is {world.admin.devices.get(device_id)}")
        raise


def holders(world: World, device_id: str) -> list[str]:
    """The servers whose QEMU has a device open."""
    return world.holders(world.admin.devices.get(device_id))


def test_twins_with_a_factory_serial(world: World) -> None:
    """B is attached first, A is plugged in and disabled, B is pulled out; then A is put into B's socket."""
    world.host.plug("twin2")
    b = appear(world, "9")
    attach(world, b, "one")
    world.host.plug("twin1")
    a = appear(world, "8")
    assert a != b
    assert holders(world, b) == ["one"]
    world.admin.devices.update(a, enabled=False)
    world.host.unplug("twin2")
    wait(world, b, "waiting", ReasonCode.UNPLUGGED)
    assert (at(world, "8")["id"], holders(world, a)) == (a, [])
    world.host.unplug("twin1")
    wait(world, a, "unavailable", ReasonCode.UNPLUGGED)
    world.host.plug("twin1", "9")
    wait(world, b, "waiting", ReasonCode.IDENTITY_IN_DOUBT)
    assert holders(world, b) == []
    assert a in world.admin.devices.get(b)["state_reason"]
    assert a not in (world.usb.devices.get(b)["state_reason"] or "")
    world.host.unplug("twin1")
    wait(world, b, "waiting", ReasonCode.UNPLUGGED)
    world.host.plug("twin2")
    wait(world, b, "waiting", ReasonCode.IDENTITY_IN_DOUBT)
    world.host.plug("twin1")
    wait(world, b, "attached")
    assert holders(world, b) == ["one"]
    wait(world, a, "unavailable", ReasonCode.DISABLED)
    world.admin.devices.update(a, enabled=True)


def test_a_twin_that_another_server_gets(world: World) -> None:
    """The server that has the first one notices nothing, neither when it comes nor when it goes."""
    world.host.plug("twin2")
    b = appear(world, "9")
    attach(world, b, "one")
    before = world.hostdevs()["one"], world.usb.devices.events(b)
    world.host.plug("twin1")
    a = appear(world, "8")
    attach(world, a, "two")
    assert (holders(world, a), holders(world, b)) == (["two"], ["one"])
    assert (world.hostdevs()["one"], world.usb.devices.events(b)) == before
    world.host.unplug("twin1")
    wait(world, a, "waiting", ReasonCode.UNPLUGGED)
    until(lambda: world.hostdevs()["two"] == [], "the empty hostdev stays")
    assert (world.hostdevs()["one"], world.usb.devices.events(b)) == before


def test_an_agent_that_starts_anew_knows_twins_apart(world: World) -> None:
    world.host.plug("twin2")
    b = appear(world, "9")
    attach(world, b, "one")
    world.stack.agent.stop()
    world.host.plug("twin1")
    world.stack.agent.start()
    a = appear(world, "8")
    assert a != b
    wait(world, b, "attached")
    assert holders(world, b) == ["one"]


def test_bus_numbers_that_swap(world: World) -> None:
    """Both controllers are bound anew in the other order, as a boot may do it."""
    world.host.plug("stick4")
    first, second = appear(world, "3"), appear(world, "3", usb.SECOND_CONTROLLER)
    attach(world, first, "one")
    attach(world, second, "theirs")
    before = ports(world, first, second)
    try:
        bind_controllers(world.host, usb.SECOND_CONTROLLER, usb.CONTROLLER)
        until(lambda: ports(world, first, second) == before[::-1], "their buses have not changed")
        wait(world, first, "attached")
        wait(world, second, "attached")
        assert at(world, "3")["id"] == first
        assert at(world, "3", usb.SECOND_CONTROLLER)["id"] == second
        assert (holders(world, first), holders(world, second)) == (["one"], ["theirs"])
    finally:
        bind_controllers(world.host, usb.CONTROLLER, usb.SECOND_CONTROLLER)
    until(lambda: ports(world, first, second) == before, "their buses have not changed back")
    assert appear(world, "3") == first


def ports(world: World, *device_ids: str) -> list[str]:
    """Where devices are, or were last."""
    return [world.admin.devices.get(device_id)["port"] for device_id in device_ids]


@pytest.fixture
def connector(world: World) -> Iterator[None]:
    """A dummy controller with one connector of USB 3."""
    world.host.run("modprobe -r dummy_hcd", check=False)
    yield
    world.host.run("modprobe -r dummy_hcd", check=False)


@pytest.mark.usefixtures("connector")
def test_a_device_that_comes_back_at_another_speed(world: World) -> None:
    def phone(max_speed: str) -> Any:
        return gadget(world.host, "Maker", "Phone", "", _PHONE, max_speed=max_speed)

    with phone("super-speed"):
        until(lambda: phones(world), "it is not listed")
        [fast] = phones(world)
        attach(world, fast["id"], "one")
    wait(world, fast["id"], "waiting", ReasonCode.UNPLUGGED)
    with phone("high-speed"):
        wait(world, fast["id"], "attached")
        [slow] = phones(world)
        assert holders(world, slow["id"]) == ["one"]
    assert (fast["speed"], slow["speed"]) == ("5000", "480")
    assert fast["port"] != slow["port"]
    wait(world, fast["id"], "waiting", ReasonCode.UNPLUGGED)


@pytest.mark.usefixtures("connector")
def test_a_device_that_changes_its_id(world: World) -> None:
    """By default the claim does not take it; and what is said of it is true."""
    with gadget(world.host, "Maker", "Phone", "P1", _PHONE, max_speed="high-speed"):
        until(lambda: phones(world), "it is not listed")
        [before] = phones(world)
        attach(world, before["id"], "one")
    wait(world, before["id"], "waiting", ReasonCode.UNPLUGGED)
    with gadget(world.host, "Maker", "Phone", "P1", _DEBUGGING, max_speed="high-speed"):
        wait(world, before["id"], "failed", ReasonCode.PORT_OCCUPIED)
        text = world.admin.devices.get(before["id"])["state_reason"]
        assert "expected 18d1:4ee1 P1, found 18d1:4ee7 with the same serial number" in text
        assert world.hostdevs()["one"] == []
    wait(world, before["id"], "waiting", ReasonCode.UNPLUGGED)


@pytest.mark.usefixtures("connector")
def test_a_claim_that_follows_the_socket(world: World) -> None:
    """A rule says so for this vendor: the phone is in the server whatever it calls itself."""
    rule = f'{{"vendor_id": "{_PHONE[:4]}", "follow": "socket", "shared": true, "handover": "none"}}'
    with world.rule_first(rule):
        with gadget(world.host, "Maker", "Phone", "F1", _PHONE, max_speed="high-speed"):
            until(lambda: at_rest(world), "it is not listed")
            [before] = at_rest(world)
            attach(world, before["id"], "one")
        wait(world, before["id"], "waiting", ReasonCode.UNPLUGGED)
        with gadget(world.host, "Maker", "Phone", "F1", _DEBUGGING, max_speed="high-speed"):
            wait(world, before["id"], "attached")
            assert world.admin.devices.get(before["id"])["product_id"] == _DEBUGGING[5:]
            assert holders(world, before["id"]) == ["one"]
        wait(world, before["id"], "waiting", ReasonCode.UNPLUGGED)


def at_rest(world: World) -> list[dict[str, Any]]:
    """The phones that no server has."""
    return [phone for phone in phones(world) if phone["state"] == "available"]


def phones(world: World) -> list[dict[str, Any]]:
    return [device for device in world.devices() if device["vendor_id"] == _PHONE[:4]]
