# SPDX-License-Identifier: Apache-2.0
"""The host, the database, the conductor or the agent goes away and comes back; nobody has to do anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from keystoneauth1 import exceptions

from lab.host import domains
from novaclient_usb.reason_codes import ReasonCode
from tests.lab.world import PATIENCE, PROJECT, World, until


@pytest.fixture
def doomed(world: World) -> domains.Server:
    """A server that is to be deleted, with a stick."""
    server = world.stack.create_server("doomed", PROJECT)
    stick = world.device("LABSTICK01")
    world.usb.attachments.create(server.uuid, stick["id"])
    world.usb.attachments.wait_attached(server.uuid, stick["id"], PATIENCE)
    return server


def delete(world: World, server: domains.Server) -> None:
    """As Nova does."""
    world.virsh("destroy", server.name)
    world.virsh("undefine", server.name)
    world.stack.forget_server(server)


def assert_free(world: World) -> None:
    """Nobody has the stick, and another server gets it."""
    world.wait_state("LABSTICK01", "available")
    until(lambda: world.host_driver("2-1") == "usb-storage", "the host did not get its stick back")
    world.attach("LABSTICK01", "two")
    assert world.held_by("LABSTICK01") == ["two"]


def test_a_server_is_deleted(world: World, doomed: domains.Server) -> None:
    delete(world, doomed)
    assert_free(world)
    causes = [event["cause_code"] for event in world.admin.devices.events(world.device("LABSTICK01")["id"])]
    assert ReasonCode.SERVER_DELETED in causes


def test_a_server_is_deleted_while_the_agent_is_down(world: World, doomed: domains.Server) -> None:
    world.stack.agent.kill()
    delete(world, doomed)
    world.stack.agent.wait_down()
    world.stack.agent.start()
    assert_free(world)


def test_a_server_is_deleted_while_the_conductor_is_down(world: World, doomed: domains.Server) -> None:
    world.stack.kill_conductor()
    delete(world, doomed)
    world.stack.start_conductor()
    assert_free(world)


def test_the_conductor_is_killed_in_the_midst_of_an_attach(world: World) -> None:
    stick = world.device("LABSTICK01")
    server = world.servers["one"].uuid
    world.usb.attachments.create(server, stick["id"])
    world.stack.kill_conductor()
    until(lambda: world.held_by("LABSTICK01") == ["one"], "the agent needs the conductor for it")
    assert world.device("LABSTICK01")["state"] == "attaching"
    world.stack.start_conductor()
    world.usb.attachments.wait_attached(server, stick["id"], PATIENCE)
    assert len(world.hostdevs()["one"]) == 1


def test_the_agent_is_killed_while_its_own_device_is_in_a_port(world: World) -> None:
    """The one by which a guest is shown that a SuperSpeed port is empty."""
    world.stack.agent.kill()
    world.monitor("one", "device_add usb-bot,bus=usb.0,port=1,id=usb-shim-passing")
    assert "usb-shim-passing" in world.monitor("one", "info usb")
    world.stack.agent.start()
    until(lambda: "usb-shim-passing" not in world.monitor("one", "info usb"), "its device stays")
    world.attach("LABSTICK01")
    assert world.superspeed_ports("one") == [1]


def test_the_host_reboots(world: World) -> None:
    """A device that is known by its port, and one that is in another port afterwards."""
    world.attach("LABSTICK01")
    [reader] = [device for device in world.devices() if device["vendor_id"] == "08e6"]
    theirs = world.servers["two"].uuid
    world.usb.attachments.create(theirs, reader["id"])
    world.usb.attachments.wait_attached(theirs, reader["id"], PATIENCE)
    world.stack.reboot_host()
    world.host.replug("stick1", "9")
    for server in world.servers.values():
        domains.define(world.host, domains.halted(server))
    world.stack.agent.start()
    world.wait_state("LABSTICK01", "waiting", ReasonCode.SERVER_OFF)
    for name in world.servers:
        world.virsh("start", name)
    world.wait_state("LABSTICK01", "attached")
    world.usb.attachments.wait_attached(theirs, reader["id"], PATIENCE)
    assert world.held_by("LABSTICK01") == ["one"]
    assert {name: len(found) for name, found in world.hostdevs().items()} == {"one": 1, "two": 1, "theirs": 0}
    world.detach("LABSTICK01")
    world.host.replug("stick1", "1")
    until(lambda: world.device("LABSTICK01")["port"] == "2-1", "the stick is not seen in its port")


@pytest.fixture
def on_mariadb(world: World) -> Iterator[World]:
    """The service with MariaDB for its database."""
    with world.stack.mariadb():
        until(lambda: _offered(world) == 8, "the devices are not offered")
        yield world
        world.restore()
    # The database from before has not heard of the agent for a while.
    until(lambda: _offered(world) == 8, "the devices are not offered again")


def _offered(world: World) -> int:
    return [device["available"] for device in world.devices()].count(True)


def test_the_database_goes_away_and_comes_back(on_mariadb: World) -> None:
    """What was attached stays; what happens meanwhile is made up for."""
    world = on_mariadb
    world.attach("LABSTICK01")
    world.attach("LABSTICK02", "two")
    stick = world.device("LABSTICK01")
    world.stack.stop_mariadb()
    with pytest.raises(exceptions.ServiceUnavailable):
        world.usb.devices.get(stick["id"])
    world.host.unplug("stick1")
    until(lambda: world.hostdevs()["one"] == [], "the dead hostdev stays")
    world.virsh("destroy", "two")
    world.virsh("start", "two")
    until(lambda: len(world.hostdevs()["two"]) == 1, "nothing is attached without a database")
    world.stack.start_mariadb()
    world.wait_state("LABSTICK01", "waiting", ReasonCode.UNPLUGGED)
    world.wait_state("LABSTICK02", "attached")
    world.host.plug("stick1")
    world.wait_state("LABSTICK01", "attached")
    assert (world.held_by("LABSTICK01"), world.held_by("LABSTICK02")) == (["one"], ["two"])
