# SPDX-License-Identifier: Apache-2.0
"""Between two owners a device is reset, and its history says so."""

from __future__ import annotations

import time

from lab.host import domains
from novaclient_usb.reason_codes import ReasonCode
from tests.lab.world import World


def resets(world: World) -> int:
    """How often the kernel has reset the stick in port 2-1."""
    found = world.host.run("dmesg | grep -c 'usb 2-1: reset '", check=False)
    return int(found.stdout)


def history(world: World) -> list[tuple[str, str | None]]:
    """The states of the first stick and their reasons, the latest first."""
    events = world.admin.devices.events(world.device("LABSTICK01")["id"])
    return [(event["state"], event["reason_code"]) for event in events]


def test_a_device_that_is_detached(world: World) -> None:
    world.attach("LABSTICK01")
    before = resets(world)
    world.detach("LABSTICK01")
    # The first is QEMU's own, which it does when it lets go.
    assert resets(world) == before + 2
    assert history(world)[:2] == [("available", "reset"), ("detaching", None)]
    assert world.device("LABSTICK01")["state_reason"] is None
    world.attach("LABSTICK01", "two")
    assert resets(world) == before + 2


def test_a_device_of_a_server_that_is_off(world: World) -> None:
    world.attach("LABSTICK01")
    world.virsh("destroy", "one")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.SERVER_OFF)
    before = resets(world)
    world.detach("LABSTICK01")
    assert resets(world) == before + 1
    assert history(world)[0] == ("available", "reset")


def test_a_server_that_is_killed_and_deleted(world: World) -> None:
    """QEMU has no time to reset anything, and is gone when the device is given back."""
    world.attach("LABSTICK01")
    before = resets(world)
    definition = world.virsh("dumpxml", "--inactive", "one")
    world.shell("kill -KILL $(cat /run/libvirt/qemu/one.pid)")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.SERVER_OFF)
    assert resets(world) == before
    world.virsh("undefine", "one")
    try:
        world.wait_state("LABSTICK01", "waiting", ReasonCode.DOMAIN_ABSENT, ReasonCode.SERVER_ON_OTHER_HOST)
        world.detach("LABSTICK01")
    finally:
        domains.define(world.host, definition)
    assert resets(world) == before + 1
    assert history(world)[0] == ("available", "reset")
    world.attach("LABSTICK01", "two")
    assert world.held_by("LABSTICK01") == ["two"]


def test_a_restart_is_no_change_of_owner(world: World) -> None:
    world.attach("LABSTICK01")
    world.virsh("destroy", "one")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.SERVER_OFF)
    before = resets(world)
    world.virsh("start", "one")
    world.wait_state("LABSTICK01", "attached")
    assert resets(world) == before


def test_an_agent_that_is_away_when_the_device_is_given_back(world: World) -> None:
    stick = world.attach("LABSTICK01")
    world.stack.agent.kill()
    world.virsh("destroy", "one")
    before = resets(world)
    world.usb.attachments.delete(world.servers["one"].uuid, stick["id"])
    world.stack.agent.start()
    world.wait_state("LABSTICK01", "available")
    assert resets(world) == before + 1
    assert history(world)[:2] == [("available", "reset"), ("detaching", None)]


def test_an_agent_killed_at_any_moment_of_a_detach(world: World) -> None:
    """The next one resets the device, once more if the first had done it already."""
    server = world.servers["one"].uuid
    for delay in (0.0, 0.3, 0.6):
        stick = world.attach("LABSTICK01")
        before = resets(world)
        world.usb.attachments.delete(server, stick["id"])
        time.sleep(delay)
        world.stack.agent.kill()
        world.stack.agent.start()
        world.wait_state("LABSTICK01", "available")
        assert resets(world) >= before + 2
        assert history(world)[:2] == [("available", "reset"), ("detaching", None)]
