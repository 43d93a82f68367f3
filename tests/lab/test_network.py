# SPDX-License-Identifier: Apache-2.0
"""A server uses a stick that is plugged into another host: both, and what is between them, fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import guest
from lab.guest import console
from lab.host import domains, usb
from lab.paths import ROOT
from lab.stack import Stack
from lab.stack_agent import Agent
from novaclient_usb.reason_codes import ReasonCode
from tests.lab import network
from tests.lab.network import Carried, cut, install, kill, restart
from tests.lab.world import PROJECT, World, migrate, until
from tests.pki import Authority

# What a relay that has lost the other one says, whichever of the two is heard first.
LOST = (ReasonCode.CHANNEL_CONNECTING, ReasonCode.CHANNEL_UNREACHABLE, ReasonCode.CHANNEL_FAILED)
HOSTILE_CONNECTIONS = 20
# As the relay limits itself (compute_shim/cmd/relay.py), and what it is without data.
_MOST_KIBIBYTES = (128 + 32) << 10


@pytest.fixture(scope="module")
def idle(stack: Stack, servers: dict[str, domains.Server], second_agent: Agent) -> Iterator[Carried]:
    """Nobody has the stick at first, and nobody has it in the end."""
    carried = Carried(World(stack, stack.host, servers), World(stack, second_agent.host, servers))
    yield carried
    carried.home.restore()


@pytest.fixture
def reader(stack: Stack, idle: Carried) -> Iterator[domains.Server]:
    """A server at home whose guest reads the beginning of each stick."""
    server = stack.create_server("reader", PROJECT, guest.build())
    log = ["cat", server.console_log]
    until(lambda: "lab-guest: READY" in stack.host.run(log, check=False).stdout, "the guest does not start")
    yield server
    idle.give_back()
    idle.home.virsh("destroy", "reader")
    idle.home.virsh("undefine", "reader")
    stack.forget_server(server)


def test_what_the_guest_reads_cannot_be_read_on_the_way(
    idle: Carried, reader: domains.Server, second_agent: Agent
) -> None:
    secret = b"what-passes-between-the-hosts-is-encrypted"
    image = usb.image_path(usb.DEVICES["stick1"], second_agent.host.directory)
    with image.open("r+b") as stick:
        stick.write(secret)
    log = ["cat", reader.console_log]
    host = idle.home.host
    with network.captured(host, "/tmp/passed"):
        idle.request(reader.uuid)
        until(
            lambda: console.begins(host.run(log).stdout, "LABSTICK01") == secret[:32].decode(),
            "the guest cannot read it",
        )
    passed = host.run("wc -c < /tmp/passed; grep -c 'LABSTICK01\\|what-passes' /tmp/passed", check=False)
    size, matches = passed.stdout.split()
    # It reads more than one sector.
    assert int(size) > 1 << 12
    assert int(matches) == 0


@pytest.fixture
def carried(idle: Carried) -> Iterator[Carried]:
    """Server ``one`` has it, from one test to the next: each ends as it began."""
    if idle.state()[0] == "available":
        idle.request(idle.home.servers["one"].uuid)
    idle.wait_attached()
    yield idle
    idle.home.stack.forget_history()


def test_attached_means_that_both_relays_have_it(carried: Carried) -> None:
    carried.assert_unprivileged()
    assert carried.home.hostdevs()["one"] == []
    assert carried.away.host_driver(carried.stick["port"]) == "usbfs"
    # The stick at home of the same serial number stays free.
    assert carried.home.device("LABSTICK01")["state"] == "available"


def test_agents_and_conductor_are_restarted(carried: Carried, stack: Stack, second_agent: Agent) -> None:
    """The relays have no part in it."""
    before = carried.relays()
    restart(stack.agent)
    stack.kill_conductor()
    second_agent.stop()
    stack.start_conductor()
    second_agent.start()
    carried.wait_attached()
    assert carried.relays() == before


@pytest.mark.parametrize("killed", [0, 1], ids=["of the device", "of the server"])
def test_a_relay_is_killed(carried: Carried, killed: int) -> None:
    host = (carried.away, carried.home)[killed].host
    pid = carried.relays()[killed]
    kill(host, pid)
    until(lambda: network.relays(host) not in ([], [pid]), "it is not started again")
    carried.wait_attached()


def test_the_stick_is_pulled_out_and_plugged_in_elsewhere(carried: Carried) -> None:
    carried.away.host.unplug("stick1")
    carried.wait_lost(ReasonCode.UNPLUGGED)
    carried.away.host.plug("stick1", "9")
    carried.wait_attached()
    carried.away.host.replug("stick1", "1")
    until(lambda: carried.away.device("LABSTICK01")["port"] == carried.stick["port"], "the port is not told")
    carried.wait_attached()


def test_the_network_is_cut_silently(carried: Carried) -> None:
    with cut(carried.away.host):
        carried.wait_lost(*LOST)
        carried.wait_waiting(ReasonCode.CHANNEL_UNREACHABLE)
    carried.wait_attached()


def test_the_server_is_off_and_on(carried: Carried) -> None:
    carried.home.virsh("suspend", "one")
    carried.home.virsh("resume", "one")
    carried.home.virsh("reset", "one")
    carried.wait_attached()
    for stop in ("managedsave", "destroy"):
        carried.home.virsh(stop, "one")
        carried.wait_waiting(ReasonCode.SERVER_OFF)
        carried.home.virsh("start", "one")
        carried.wait_attached()


def test_the_server_starts_while_the_other_host_cannot_be_reached(carried: Carried) -> None:
    with cut(carried.away.host):
        for stop in ("managedsave", "destroy"):
            carried.home.virsh(stop, "one")
            carried.wait_waiting(ReasonCode.SERVER_OFF)
            carried.home.virsh("start", "one")
            carried.wait_lost(*LOST)
    carried.wait_attached()


def test_it_follows_the_server(carried: Carried) -> None:
    """To the device's own host, where it is attached without relays, and back."""
    migrate(carried.home, carried.away, "one")
    try:
        until(lambda: carried.away.held_by("LABSTICK01") == ["one"], "it is not attached on its own host")
        carried.wait_without_relays()
        [now] = carried.home.usb.attachments.list(carried.home.servers["one"].uuid)
        assert not now["over_network"]
    finally:
        migrate(carried.away, carried.home, "one")
    carried.wait_attached()


def test_a_certificate_that_is_replaced_does_not_disturb_a_connection(
    carried: Carried, authority: Authority
) -> None:
    before = carried.relays()
    for host in (carried.home.host, carried.away.host):
        install(host, authority.issue(host.name, host.name))
    assert (carried.state(), carried.relays()) == (("attached", None), before)


def test_a_certificate_of_another_authority(carried: Carried, authority: Authority, tmp_path: Path) -> None:
    """There is no further connection, until it is right."""
    host = carried.home.host
    stranger = Authority(tmp_path, "stranger")
    install(host, stranger.issue(host.name, host.name, trusts=authority))
    kill(host, carried.relays()[1])
    try:
        carried.wait_lost(ReasonCode.CHANNEL_REFUSED)
        assert carried.away.host_driver(carried.stick["port"]) == "usbfs"
    finally:
        install(host, authority.issue(host.name, host.name))
    carried.wait_attached()


def test_a_hostile_host_of_the_server_breaks_nothing(carried: Carried, stack: Stack) -> None:
    """It has the certificate and the claim, and sends almost usbredir; then it is a good one."""
    away, home = carried.away.host, carried.home.host
    of_device, of_server = carried.relays()
    state = away.run(f"cat /run/usb-shim/relays/{carried.stick['id']}.state").stdout
    said = dict(line.split(" ", 1) for line in state.splitlines() if " " in line)
    stack.agent.stop()
    kill(home, of_server)
    script, device = str(ROOT / "tests/lab/relay_fuzz.py"), carried.stick["id"]
    fuzz = ["/usr/bin/python3", script, away.name, said["port"], device, said["generation"]]
    done = home.run([*fuzz, "1", str(HOSTILE_CONNECTIONS)], timeout=1200)
    assert int(done.stdout.split()[0]) == HOSTILE_CONNECTIONS
    most = away.run(f"grep VmHWM /proc/{of_device}/status").stdout
    assert int(most.split()[1]) < _MOST_KIBIBYTES
    stack.agent.start()
    carried.wait_attached()
    assert carried.relays()[0] == of_device


def test_the_host_of_the_server_is_not_heard_of(carried: Carried, stack: Stack) -> None:
    with stack.host.frozen():
        stack.agent.wait_down()
    carried.wait_attached()


def test_it_is_given_back(carried: Carried) -> None:
    carried.give_back()


def test_the_host_of_the_device_dies(idle: Carried, stack: Stack, second_agent: Agent) -> None:
    """The last test of the second host."""
    server = idle.home.servers["one"].uuid
    idle.request(server)
    idle.wait_attached()
    with second_agent.host.frozen():
        second_agent.wait_down()
        idle.wait_lost(*LOST)
    idle.wait_attached()
    second_agent.host.stop()
    idle.wait_lost(*LOST)
    second_agent.wait_down()
    idle.home.virsh("destroy", "one")
    idle.home.virsh("start", "one")
    idle.home.usb.attachments.delete(server, idle.stick["id"])
    idle.home.admin.hosts.delete(second_agent.host.name)
    until(lambda: not network.relays(stack.host), "a relay is left")
