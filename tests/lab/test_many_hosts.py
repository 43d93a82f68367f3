# SPDX-License-Identifier: Apache-2.0
"""Three hosts with identical sticks; each has a server that uses the stick of the next host.

Each stick begins with the name of its host, and each guest tells what its stick begins with.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from lab import guest
from lab.guest import console
from lab.host import domains, usb
from lab.stack import Stack
from lab.stack_agent import Agent
from lab.stack_nova import OTHER_HOSTS
from tests.lab import network
from tests.lab.network import Carried
from tests.lab.world import PROJECT, World, migrate, until
from tests.pki import Authority

_SERIAL, _STICK = "LABSTICK01", "stick1"
_ROUNDS = 2
# How long the network stays cut: longer than a relay waits for the other one (`PATIENCE` of
# compute_shim.relay.connection).
_CUT_SECONDS = 12


@dataclasses.dataclass
class Reader:
    """A server that has been granted a stick.

    :ivar here: the host where it is.
    :ivar there: the host of its stick.
    """

    server: domains.Server
    here: World
    there: World
    carried: Carried

    @property
    def wanted(self) -> str:
        """What its stick begins with."""
        return _beginning(self.there)

    def read(self) -> str | None:
        """What the stick begins with that its guest has now; None if it has none or has not read it."""
        log = self.here.host.run(["cat", self.server.console_log], check=False).stdout
        return console.begins(log, _SERIAL) or None

    def wait(self) -> None:
        """Until its guest has its stick; it never has another one."""

        def has_it() -> bool:
            found = self.read()
            assert found in (None, self.wanted), f"{self.server.name} on {self.here.host.name} has {found}"
            return found == self.wanted and self.carried.state() == ("attached", None)

        until(has_it, f"{self.server.name} on {self.here.host.name} does not have the stick of {self.wanted}")


def _beginning(world: World) -> str:
    return f"stick-of-{world.host.name}"


# Of the session, as the second host is: the order of both is that of the parameters of `agents` then.
@pytest.fixture(scope="session")
def third(stack: Stack) -> Agent:
    """A third host, which boots beside the second one."""
    return stack.boot_other_host(OTHER_HOSTS[1])


@pytest.fixture(scope="module")
def agents(stack: Stack, third: Agent, second_agent: Agent, authority: Authority) -> Iterator[list[Agent]]:
    network.start(third, authority)
    yield [stack.agent, second_agent, third]
    third.stop()
    third.host.stop()
    third.wait_down()
    stack.admin().hosts.delete(third.host.name)


@pytest.fixture(scope="module")
def readers(stack: Stack, agents: list[Agent]) -> Iterator[list[Reader]]:
    """All have what they were granted, and nobody has anything in the end."""
    servers: dict[str, domains.Server] = {}
    worlds = [World(stack, agent.host, servers) for agent in agents]
    for world in worlds:
        image = usb.image_path(usb.DEVICES[_STICK], world.host.directory)
        with image.open("r+b") as stick:
            stick.write(_beginning(world).encode().ljust(64, b"\0"))
        name = f"reader-{world.host.name}"
        servers[name] = stack.create_server(name, PROJECT, guest.build(), world.host)
    readers = []
    for here, there, server in zip(worlds, [*worlds[1:], worlds[0]], list(servers.values()), strict=True):
        carried = Carried(here, there)
        carried.request(server.uuid)
        readers.append(Reader(server, here, there, carried))
    yield readers
    for reader in readers:
        reader.here.admin.attachments.delete(reader.server.uuid, reader.carried.stick["id"])
        reader.here.virsh("destroy", reader.server.name)
        reader.here.virsh("undefine", reader.server.name)
        reader.there.host.replug(_STICK, usb.DEVICES[_STICK].port)
    until(
        lambda: all(device["server_id"] is None for device in stack.admin().devices.list()),
        "not everything was given back",
    )
    for server in servers.values():
        stack.forget_server(server)
    stack.forget_history()


def test_each_of_three_identical_sticks_is_in_its_server(readers: list[Reader]) -> None:
    for reader in readers:
        reader.wait()
        [there] = [it for it in reader.here.usb.devices.list() if it["id"] == reader.carried.stick["id"]]
        assert (there["serial"], there["used_over_network"]) == (_SERIAL, True)


def test_a_server_moves_to_a_third_host_and_to_that_of_its_stick(readers: list[Reader]) -> None:
    """The other two are not disturbed."""
    moving = readers[0]
    home = moving.here
    others = {pid for reader in readers[1:] for pid in _relays_of(reader)}
    for target in (readers[2].here, moving.there, home):
        migrate(moving.here, target, moving.server.name)
        moving.here = target
        moving.wait()
        [now] = target.usb.attachments.list(moving.server.uuid)
        assert now["over_network"] == (target is not moving.there)
    assert {pid for reader in readers[1:] for pid in _relays_of(reader)} == others


def _relays_of(reader: Reader) -> list[tuple[str, str]]:
    """Host and process of both relays of a claim."""
    shown = f"pgrep -f '[c]ompute_shim.cmd.relay.*{reader.carried.stick['id']}'"
    return [
        (world.host.name, pid)
        for world in (reader.here, reader.there)
        for pid in world.host.run(shown, check=False).stdout.split()
    ]


@pytest.mark.parametrize("seed", [1])
def test_under_churn_none_gets_the_stick_of_another(
    readers: list[Reader], agents: list[Agent], stack: Stack, seed: int
) -> None:
    dice = random.Random(seed)

    def replug(agent: Agent) -> None:
        agent.host.replug(_STICK, dice.choice(["1", "9"]))

    def kill_relays(agent: Agent) -> None:
        for pid in network.relays(agent.host):
            network.kill(agent.host, pid)

    def restart_conductor(agent: Agent) -> None:
        stack.kill_conductor()
        stack.start_conductor()

    deeds: list[Callable[[Agent], None]] = [replug, kill_relays, network.restart, restart_conductor]
    for _ in range(_ROUNDS):
        with ExitStack() as healed:
            healed.enter_context(network.cut(dice.choice(agents).host))
            for deed, agent in zip(dice.choices(deeds, k=3), dice.sample(agents, k=3), strict=True):
                deed(agent)
            time.sleep(_CUT_SECONDS)
        for reader in readers:
            reader.wait()
