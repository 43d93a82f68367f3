# SPDX-License-Identifier: Apache-2.0
"""A server moves to another host, and back: libvirt's live migration between two lab hosts."""

from __future__ import annotations

import pytest

from lab.host import Host
from novaclient_usb.reason_codes import ReasonCode
from tests.lab.hooks import install_hook
from tests.lab.world import World, migrate, until

# Linux numbers the devices of a bus from 1 to 127 (drivers/usb/core/hub.c: choose_devnum).
_MOST_NUMBERS = 127


def give_twin_the_same_number(world: World, elsewhere: World) -> None:
    """Plug the other host's stick in until its number, which grows each time, is that of the one at home."""
    home = world.device("LABSTICK01")
    devnum = f"cat /sys/bus/usb/devices/{home['port']}/devnum"

    def number() -> str:
        return elsewhere.host.run(devnum, check=False).stdout.strip()

    for _ in range(_MOST_NUMBERS):
        twin = number()
        if twin == str(home["device"]):
            break
        elsewhere.host.replug("stick1")
        until(lambda twin=twin: number() not in ("", twin), "the stick is not plugged in again")
    until(lambda: elsewhere.device("LABSTICK01")["device"] == home["device"], "the stick has another number")


def bindings(host: Host) -> int:
    """How often the host's own driver has taken a stick."""
    return host.run("dmesg").stdout.count("USB Mass Storage device detected")


def test_there_and_back(world: World, elsewhere: World) -> None:
    """The second host has an identical stick at the same bus and device number, and keeps it."""
    give_twin_the_same_number(world, elsewhere)
    mine = world.attach("LABSTICK01")
    assert world.superspeed_ports("one") == [1]
    before = bindings(elsewhere.host)
    migrate(world, elsewhere, "one")
    try:
        world.wait_state("LABSTICK01", "waiting", ReasonCode.DOMAIN_ABSENT, ReasonCode.SERVER_ON_OTHER_HOST)
        until(lambda: "ua-usb-" not in elsewhere.virsh("dumpxml", "one"), "the ghost stays")
        until(lambda: elsewhere.superspeed_ports("one") == [], "the guest sees a stick that is not there")
        assert elsewhere.held_by("LABSTICK01") == []
        assert elsewhere.device("LABSTICK01")["state"] == "available"
        assert bindings(elsewhere.host) == before
        assert elsewhere.virsh("domstate", "one").strip() == "running"

        elsewhere.attach("LABSTICK02")
        assert elsewhere.held_by("LABSTICK02") == ["one"]
        elsewhere.detach("LABSTICK02")
    finally:
        migrate(elsewhere, world, "one")
    world.wait_state("LABSTICK01", "attached")
    assert world.held_by("LABSTICK01") == ["one"]
    assert len(world.hostdevs()["one"]) == 1
    assert world.superspeed_ports("one") == [1]
    causes = [event["cause_code"] for event in world.usb.devices.events(mine["id"])]
    assert causes[0] in ("server_moved", "server_started", "server_busy")
    assert {"server_moved", "server_stopped"} & set(causes)


def test_a_hook_that_fails_stops_the_migration_and_nothing_else(world: World, elsewhere: World) -> None:
    world.attach("LABSTICK01")
    elsewhere.shell("sed -i '2i raise SystemExit(3)' /etc/libvirt/hooks/qemu.d/50-usb-shim")
    try:
        with pytest.raises(Exception, match="Hook script execution failed"):
            migrate(world, elsewhere, "one")
    finally:
        install_hook(elsewhere.host)
    assert world.held_by("LABSTICK01") == ["one"]
    assert world.device("LABSTICK01")["state"] == "attached"
    assert elsewhere.host_driver(elsewhere.device("LABSTICK01")["port"]) == "usb-storage"
