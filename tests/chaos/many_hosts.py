# SPDX-License-Identifier: Apache-2.0
"""What can go wrong on several hosts, and between them, while servers use devices of any of them."""

from __future__ import annotations

import functools
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.host import HostError, domains, usb
from lab.stack import Stack
from lab.stack_agent import Agent
from lab.stack_nova import OTHER_HOSTS
from tests.chaos import claims, oracle
from tests.chaos.claims import Claim
from tests.chaos.steps import REFUSALS, REFUSED, Deed, one_of
from tests.lab import network
from tests.lab.world import PROJECT
from tests.pki import Authority

# Each host has both. Those of two hosts are the same to look at.
_STICKS = {"stick1": "LABSTICK01", "stick2": "LABSTICK02"}
_TRANSPORTS = ("local", "network", "any")


def start(stack: Stack, dice: random.Random) -> ManyHosts:
    """Start all hosts of a stack that is up, and their agents, and make servers."""
    agents = [stack.agent, *map(stack.boot_other_host, OTHER_HOSTS)]
    with tempfile.TemporaryDirectory() as directory:
        authority = Authority(Path(directory), "authority")
        for agent in agents:
            network.start(agent, authority)
    return ManyHosts(stack, agents, dice)


class ManyHosts:
    """Hosts, servers and the service, and all that happens to them.

    :ivar place: of each server, the name of its host.
    :ivar running: the servers that are on.
    :ivar claims: by the id of the device, as the API answered.
    """

    def __init__(self, stack: Stack, agents: list[Agent], dice: random.Random) -> None:
        self.stack = stack
        self.dice = dice
        self.agents = {agent.host.name: agent for agent in agents}
        self.hosts = {name: agent.host for name, agent in self.agents.items()}
        self.place = {f"on-{name}": name for name in self.hosts}
        self.servers = {
            name: stack.create_server(name, PROJECT, host=self.hosts[host])
            for name, host in self.place.items()
        }
        self.running = set(self.servers)
        self.claims: dict[str, Claim] = {}
        self.usb = stack.client(PROJECT)
        #: (host, stick) -> device id.
        self.devices = {
            (device["host"], stick): device["id"]
            for stick, serial in _STICKS.items()
            for device in stack.admin().devices.list(serial=serial)
        }
        self.unplugged: set[tuple[str, str]] = set()
        self.lost: set[str] = set()
        self.down: list[str] = []
        self._kill: dict[str, Callable[[], None]] = {
            "conductor": stack.kill_conductor,
            "RabbitMQ": stack.kill_message_bus,
            **{f"agent of {name}": agent.kill for name, agent in self.agents.items()},
        }
        self._start: dict[str, Callable[[], None]] = {
            "conductor": stack.start_conductor,
            "RabbitMQ": stack.start_message_bus,
            **{f"agent of {name}": agent.launch for name, agent in self.agents.items()},
        }

    def choose(self) -> tuple[str, Deed]:
        """As `tests.chaos.steps.Steps`; so are the next three."""
        off = self.servers.keys() - self.running
        healthy = self.hosts.keys() - self.lost
        movable = [name for name in sorted(self.running) if self.place[name] in healthy]
        return one_of(
            self.dice,
            [
                ("plug", 3, bool(self.unplugged), self._plug),
                ("unplug", 2, len(self.unplugged) < len(self.devices), self._unplug),
                ("attach", 6, True, self._attach),
                ("detach", 2, bool(self.claims), self._detach),
                ("cut", 2, bool(healthy), functools.partial(self._cut, healthy)),
                ("heal", 2, bool(self.lost), self._heal),
                ("migrate", 3, len(healthy) > 1 and bool(movable), lambda: self._migrate(movable, healthy)),
                ("stop", 1, bool(self.running), self._stop),
                ("start", 2, bool(off), lambda: self._start_server(off)),
                ("guest reset", 1, bool(self.running), self._reset),
                ("kill relays", 2, True, self._kill_relays),
                ("kill", 2, len(self.down) < len(self._kill), self._kill_it),
                ("restart", 2, bool(self.down), self._restart),
            ],
        )

    def restart_all(self) -> None:
        """Start what was killed, and let the hosts reach each other."""
        while self.down:
            self._restart()
        while self.lost:
            self._heal()

    def never(self) -> Iterator[str]:
        """The devices that two servers have."""
        on = self._on()
        yield from claims.shared({name: oracle.listed(self.hosts[host], name) for name, host in on.items()})

    def disagreements(self) -> Iterator[str]:
        """Of the claims, the API, the relays and the guests' lists of devices."""
        homes = {device_id: host for (host, _stick), device_id in self.devices.items()}
        unplugged = {self.devices[key] for key in self.unplugged}
        view = claims.look(self.stack, self.hosts, self.servers, self._on(), homes, unplugged)
        yield from claims.disagreements(view, self.claims, self.place, self.running)

    def _on(self) -> dict[str, str]:
        return {name: self.place[name] for name in sorted(self.running)}

    # The devices and the network

    def _plug(self) -> str:
        host, stick = self.dice.choice(sorted(self.unplugged))
        port = self.dice.choice([usb.DEVICES[stick].port, {"stick1": "9", "stick2": "10"}[stick]])
        self.hosts[host].plug(stick, port)
        self.unplugged.remove((host, stick))
        return f"{stick} of {host} into port {port}"

    def _unplug(self) -> str:
        host, stick = self.dice.choice(sorted(self.devices.keys() - self.unplugged))
        self.hosts[host].unplug(stick)
        self.unplugged.add((host, stick))
        return f"{stick} of {host}"

    def _cut(self, healthy: set[str]) -> str:
        host = self.dice.choice(sorted(healthy))
        network.lose(self.hosts[host])
        self.lost.add(host)
        return host

    def _heal(self) -> str:
        host = self.dice.choice(sorted(self.lost))
        network.heal(self.hosts[host])
        self.lost.remove(host)
        return host

    # The users

    def _attach(self) -> str:
        (host, stick), device_id = self.dice.choice(sorted(self.devices.items()))
        server = self.servers[self.dice.choice(sorted(self.servers))]
        transport = self.dice.choice(_TRANSPORTS)
        what = f"{stick} of {host} to {server.name} ({transport})"
        try:
            self.usb.attachments.create(server.uuid, device_id, transport=transport)
        except REFUSALS as error:
            return f"{REFUSED}: {what}: {error}"
        self.claims[device_id] = Claim(server.name, transport)
        return what

    def _detach(self) -> str:
        device_id = self.dice.choice(sorted(self.claims))
        claim = self.claims.pop(device_id)
        self.usb.attachments.delete(self.servers[claim.server].uuid, device_id)
        return f"{device_id} from {claim.server}"

    # The servers

    def _migrate(self, movable: list[str], healthy: set[str]) -> str:
        """As Nova does; a server whose migration fails stays where it is."""
        name = self.dice.choice(movable)
        origin = self.place[name]
        target = self.dice.choice(sorted(healthy - {origin}))
        what = f"{name} from {origin} to {target}"
        try:
            domains.virsh(
                self.hosts[origin],
                *("migrate", "--live", "--p2p", "--persistent", "--undefinesource"),
                *(name, f"qemu+tcp://{target}/system"),
            )
        except HostError as error:
            if self._virsh(name, "domstate", name).strip() != "running":
                raise
            return f"{REFUSED}: {what}: {error}"
        self.place[name] = target
        self.stack.record_server(self.servers[name], target)
        return what

    def _stop(self) -> str:
        name = self.dice.choice(sorted(self.running))
        self._virsh(name, "destroy", name)
        self.running.remove(name)
        return name

    def _start_server(self, off: set[str]) -> str:
        name = self.dice.choice(sorted(off))
        self._virsh(name, "start", name)
        self.running.add(name)
        return name

    def _reset(self) -> str:
        name = self.dice.choice(sorted(self.running))
        self._virsh(name, "reset", name)
        return name

    def _virsh(self, server: str, *arguments: str) -> str:
        return domains.virsh(self.hosts[self.place[server]], *arguments)

    # What is killed

    def _kill_relays(self) -> str:
        host = self.hosts[self.dice.choice(sorted(self.hosts))]
        pids = network.relays(host)
        for pid in pids:
            network.kill(host, pid)
        return f"{len(pids)} of {host.name}"

    def _kill_it(self) -> str:
        name = self.dice.choice([name for name in self._kill if name not in self.down])
        self._kill[name]()
        self.down.append(name)
        return name

    def _restart(self) -> str:
        name = self.dice.choice(self.down)
        self._start[name]()
        self.down.remove(name)
        return name
