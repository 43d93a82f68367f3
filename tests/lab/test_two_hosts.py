# SPDX-License-Identifier: Apache-2.0
"""A server moves to another host, and back: libvirt's live migration between two lab hosts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.host import Host, command
from lab.host.usb import EVERYTHING
from lab.stack import Stack
from lab.stack_agent import Agent
from novaclient_usb.reason_codes import ReasonCode
from tests.lab.test_survival import install_hook, remove_hook
from tests.lab.world import World, until
from tests.pki import Authority

# As `EVERYTHING`, and over the network.
NETWORK = EVERYTHING.replace("}", ', "network": true}')

# Linux numbers the devices of a bus from 1 to 127 (drivers/usb/core/hub.c: choose_devnum).
_MOST_NUMBERS = 127


@pytest.fixture(scope="module")
def second_agent(stack: Stack) -> Iterator[Agent]:
    """A second host with the same sticks in the same ports; libvirt has our hook on both."""
    agent = stack.start_second_host()
    for host in (stack.host, agent.host):
        install_hook(host)
    yield agent
    remove_hook(stack.host)
    agent.host.stop()


@pytest.fixture
def second(second_agent: Agent) -> Host:
    """The second host."""
    return second_agent.host


@pytest.fixture
def by_network(stack: Stack, second_agent: Agent, tmp_path: Path) -> Iterator[None]:
    """Both hosts take part in the network transport, and all devices may be used by it."""
    authority = Authority(tmp_path, "authority")
    agents = (stack.agent, second_agent)
    for agent in agents:
        options = ["[network_usb]", "user = nobody"]
        name = agent.host.name
        for option, file in dataclasses.asdict(authority.issue(name, name)).items():
            path = f"/run/pki/{option}.pem"
            agent.host.run(f"mkdir -p /run/pki && cat > {path}", stdin=Path(file).read_text())
            options.append(f"{option} = {path}")
        agent.host.run("chown nobody /run/pki/key.pem; chmod 600 /run/pki/key.pem")
        agent.more = "\n".join(options) + "\n"
        restart(agent, NETWORK)
    yield
    for agent in agents:
        agent.more = ""
        restart(agent, EVERYTHING)


def restart(agent: Agent, device_spec: str | None = None) -> None:
    """Restart an agent, with other rules if told so."""
    agent.stop()
    if device_spec is not None:
        agent.configure(device_spec)
    agent.start()


@pytest.fixture
def elsewhere(world: World, second: Host) -> World:
    """The second host and its devices."""
    return World(world.stack, second, world.servers)


def relays(host: Host) -> list[int]:
    """The processes of the relays of a host."""
    found = host.run("pgrep -f '[c]ompute_shim.cmd.relay'", check=False).stdout
    return [int(pid) for pid in found.split()]


def migrate(origin: World, target: World, server: str) -> None:
    """What Nova does."""
    origin.virsh(
        *("migrate", "--live", "--p2p", "--persistent", "--undefinesource"),
        *(server, f"qemu+tcp://{target.host.name}/system"),
    )
    origin.stack.record_server(origin.servers[server], target.host.name)


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


def test_a_server_uses_a_device_of_the_other_host(
    stack: Stack, world: World, elsewhere: World, second_agent: Agent, by_network: None
) -> None:
    """From the API to QEMU, through restarts of both agents, a killed relay, and moves there and back."""
    server = world.servers["one"]
    stick = elsewhere.device("LABSTICK01")
    elsewhere.wait_free(stick["id"])
    asked = world.usb.attachments.create(server.uuid, stick["id"], transport="network")
    assert (asked["transport"], asked["over_network"]) == ("network", True)

    def is_attached() -> bool:
        device = world.usb.devices.get(stick["id"])
        return device["state"] == "attached" and "USB Redir" in world.monitor("one", "info usb")

    until(is_attached, "the server does not have it")
    assert world.hostdevs()["one"] == []
    [of_device], [of_server] = relays(elsewhere.host), relays(world.host)
    assert elsewhere.host_driver(stick["port"]) == "usbfs"
    for host, pid in ((elsewhere.host, of_device), (world.host, of_server)):
        status = host.run(["cat", f"/proc/{pid}/status"]).stdout
        assert "Uid:\t65534\t65534" in status
        assert "CapBnd:\t0000000000000000" in status
    # The device at home of the same serial number stays free.
    assert world.device("LABSTICK01")["state"] == "available"

    restart(stack.agent)
    restart(second_agent)
    assert (relays(elsewhere.host), relays(world.host)) == ([of_device], [of_server])
    assert is_attached()

    elsewhere.host.run(f"kill -KILL {of_device}; {command.until(f'[ ! -e /proc/{of_device} ]')}")
    until(lambda: relays(elsewhere.host) not in ([], [of_device]), "the relay is not started again")
    until(is_attached, "the server does not have it again")

    migrate(world, elsewhere, "one")
    try:
        until(lambda: elsewhere.held_by("LABSTICK01") == ["one"], "it is not attached on its own host")
        until(lambda: not relays(elsewhere.host) and not relays(world.host), "relays are left")
        [now] = world.usb.attachments.list(server.uuid)
        assert not now["over_network"]
    finally:
        migrate(elsewhere, world, "one")
    until(is_attached, "it has not followed the server back")

    world.usb.attachments.delete(server.uuid, stick["id"])
    world.usb.attachments.wait_detached(server.uuid, stick["id"], 120.0)
    assert "USB Redir" not in world.monitor("one", "info usb")
    until(lambda: not relays(elsewhere.host) and not relays(world.host), "relays are left")
    until(lambda: elsewhere.host_driver(stick["port"]) == "usb-storage", "the host does not have its stick")
