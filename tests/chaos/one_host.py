# SPDX-License-Identifier: Apache-2.0
"""What can go wrong on one host, and what the people of the cloud do meanwhile."""

from __future__ import annotations

import contextlib
import functools
import random
import threading
from collections.abc import Callable, Iterator

from keystoneauth1 import exceptions

from lab.host import domains, usb
from lab.stack import Stack
from tests.chaos import oracle
from tests.chaos.steps import REFUSALS, REFUSED, Deed, one_of
from tests.lab.hooks import install_hook
from tests.lab.world import OTHER_PROJECT, PROJECT, bind_controllers

# What may go into another port: the ones that are known by their serial. Nobody is at home in the others.
_TRAVELLERS = {"stick1": "1", "stick2": "2"}
_FREE_PORTS = ("8", "9", "10")
# They have one serial number: which is which, only their port tells. Either goes into either's.
TWINS = {"twin1": "11", "twin2": "12"}

# A command line that no other process has.
_USER = "sleep 86399"


def start(stack: Stack, dice: random.Random) -> OneHost:
    """Start the agent of a stack that is up, and make servers."""
    install_hook(stack.host)
    for name, port in TWINS.items():
        stack.host.plug(name, port)
    stack.agent.start()
    return OneHost(stack, dice)


class OneHost:
    """A host, its servers and the service, and all that happens to them.

    :ivar claims: device id -> the server that has it, as the API answered.
    :ivar state: of each server: running, paused, off or saved.
    :ivar ports: the port of each device, None while it is pulled out.
    :ivar down: what of ours, of libvirt and of the message bus was killed and not started again.
    """

    def __init__(self, stack: Stack, dice: random.Random) -> None:
        self.stack = stack
        self.dice = dice
        self.servers = {
            "one": stack.create_server("one", PROJECT),
            "two": stack.create_server("two", PROJECT),
            "theirs": stack.create_server("theirs", OTHER_PROJECT),
        }
        self.usb = {project: stack.client(project) for project in (PROJECT, OTHER_PROJECT)}
        self.devices = [device["id"] for device in stack.admin().devices.list()]
        self.claims: dict[str, str | None] = dict.fromkeys(self.devices)
        self.state = dict.fromkeys(self.servers, "running")
        self.down: list[str] = []
        # What is behind the hub comes and goes with it.
        self._homes = {
            device.name: device.port
            for device in usb.DEVICES.values()
            if device.hub is None and not device.spare
        }
        self.ports: dict[str, str | None] = dict(self._homes)
        self._twins: dict[str, str | None] = dict(TWINS)
        self._controllers = list(usb.CONTROLLERS)
        self._used: str | None = None
        self._server_steps = (
            ("guest reset", ("running",), self._reset),
            ("hard reboot", ("running", "paused", "off"), self._hard_reboot),
            ("stop", ("running", "paused"), self._stop),
            ("start", ("off", "saved"), self._start_server),
            ("pause", ("running",), self._pause),
            ("unpause", ("paused",), self._unpause),
            ("managed save", ("running",), self._save),
        )
        self._kill = {
            "agent": stack.agent.kill,
            "conductor": stack.kill_conductor,
            "API": self._kill_api,
            "libvirtd": self._kill_libvirtd,
            "RabbitMQ": stack.kill_message_bus,
        }
        self._start = {
            "agent": stack.agent.launch,
            "conductor": stack.start_conductor,
            "API": stack.start_api,
            "libvirtd": lambda: self._run("libvirtd --listen --daemon"),
            "RabbitMQ": stack.start_message_bus,
        }

    @property
    def running(self) -> set[str]:
        """The servers that have a process."""
        return {name for name, state in self.state.items() if state in ("running", "paused")}

    def choose(self) -> tuple[str, Deed]:
        """As `tests.chaos.steps.Steps`; so are the next three."""
        api, libvirtd = "API" not in self.down, "libvirtd" not in self.down
        possible: list[tuple[str, int, bool, Deed]] = [
            ("plug", 3, None in self.ports.values(), self._plug),
            ("unplug", 2, any(self.ports.values()), self._unplug),
            ("twin", 3, True, self._twin),
            ("renumber", 1, True, self._renumber),
            ("host uses it", 1, api, self._host_uses_it),
            ("attach", 6, api, self._attach),
            ("detach", 3, api and any(self.claims.values()), self._detach),
            ("restart", 2, bool(self.down), lambda: self._restart(self.dice.choice(self.down))),
        ]
        possible += [
            (
                kind,
                1,
                libvirtd and bool(self._servers(states)),
                functools.partial(self._to_a_server, deed, states),
            )
            for kind, states, deed in self._server_steps
        ]
        possible += [
            (f"kill {name}", 1, name not in self.down, functools.partial(self._kill_it, name))
            for name in self._kill
        ]
        return one_of(self.dice, possible)

    def restart_all(self) -> None:
        """Start what was killed, in any order."""
        while self.down:
            self._restart(self.dice.choice(self.down))

    def never(self) -> Iterator[str]:
        """The devices that two servers have."""
        yield from oracle.shared(oracle.open_devices(self.stack, self.servers))

    def disagreements(self) -> Iterator[str]:
        """Of claims, database, libvirt, QEMU and the guests' own lists."""
        view = oracle.look(self.stack, self.servers)
        yield from oracle.disagreements(view, self.claims, self.servers, self.running)

    # The devices

    def _plug(self) -> str:
        name = self.dice.choice([name for name, port in self.ports.items() if port is None])
        port = self._homes[name]
        if name in _TRAVELLERS:
            taken = self.ports.values()
            port = self.dice.choice(
                [port for port in (*_TRAVELLERS.values(), *_FREE_PORTS) if port not in taken]
            )
        self.stack.host.plug(name, port)
        self.ports[name] = port
        return f"{name} into port {port}"

    def _unplug(self) -> str:
        name = self.dice.choice([name for name, port in self.ports.items() if port is not None])
        self.stack.host.unplug(name)
        self.ports[name] = None
        return name

    def _twin(self) -> str:
        """Pull out one of the twins, or put one into a port of theirs."""
        name = self.dice.choice(list(self._twins))
        if self._twins[name] is not None:
            self.stack.host.unplug(name)
            self._twins[name] = None
            return f"{name} pulled out"
        port = self.dice.choice([port for port in TWINS.values() if port not in self._twins.values()])
        self.stack.host.plug(name, port)
        self._twins[name] = port
        return f"{name} into port {port}"

    def _renumber(self) -> str:
        """Every device is gone for a moment, and its bus has another number."""
        self._controllers.reverse()
        bind_controllers(self.stack.host, *self._controllers)
        return " before ".join(self._controllers)

    def _host_uses_it(self) -> str:
        """A process of the host opens a device that is free, or lets go of the one that it has."""
        if self._used is not None:
            self._run("pkill -f '[s]leep 86399'; while pgrep -f '[s]leep 86399'; do sleep 0.1; done")
            used, self._used = self._used, None
            return f"no longer {used}"
        free = [row for row in oracle.rows().values() if row["instance_uuid"] is None and row["present"]]
        if not free:
            return f"{REFUSED}: no device is free"
        row = self.dice.choice(free)
        self._used = f"/dev/bus/usb/{row['bus']:03}/{row['device']:03}"
        # It may have been pulled out since.
        self._run(f"[ ! -e {self._used} ] || setsid {_USER} <> {self._used} > /dev/null 2>&1 &")
        return self._used

    # The users

    def _attach(self) -> str:
        device_id, name = self.dice.choice(self.devices), self.dice.choice(list(self.servers))
        server = self.servers[name]
        try:
            self.usb[server.project_id].attachments.create(server.uuid, device_id)
        except REFUSALS as error:
            return f"{REFUSED}: {device_id} to {name}: {error}"
        self.claims[device_id] = server.uuid
        return f"{device_id} to {name}"

    def _detach(self) -> str:
        device_id, owner = self.dice.choice(
            [(device_id, owner) for device_id, owner in self.claims.items() if owner]
        )
        [server] = [server for server in self.servers.values() if server.uuid == owner]
        self.usb[server.project_id].attachments.delete(owner, device_id)
        self.claims[device_id] = None
        return f"{device_id} from {server.name}"

    # The servers

    def _servers(self, states: tuple[str, ...]) -> list[str]:
        return [name for name, state in self.state.items() if state in states]

    def _to_a_server(self, deed: Callable[[str], None], states: tuple[str, ...]) -> str:
        name = self.dice.choice(self._servers(states))
        deed(name)
        return name

    def _reset(self, name: str) -> None:
        self._virsh("reset", name)

    def _hard_reboot(self, name: str) -> None:
        """As Nova does it."""
        xml = domains.halted(self.servers[name])
        if name in self.running:
            self._virsh("destroy", name)
        self._virsh("undefine", name)
        domains.define(self.stack.host, xml)
        self._virsh("start", name)
        self.state[name] = "running"

    def _stop(self, name: str) -> None:
        self._virsh("destroy", name)
        self.state[name] = "off"

    def _start_server(self, name: str) -> None:
        self._virsh("start", name)
        self.state[name] = "running"

    def _pause(self, name: str) -> None:
        self._virsh("suspend", name)
        self.state[name] = "paused"

    def _unpause(self, name: str) -> None:
        self._virsh("resume", name)
        self.state[name] = "running"

    def _save(self, name: str) -> None:
        self._virsh("managedsave", name)
        self.state[name] = "saved"

    def _virsh(self, *arguments: str) -> None:
        domains.virsh(self.stack.host, *arguments)

    # What is killed

    def _kill_it(self, name: str) -> str:
        self._kill[name]()
        self.down.append(name)
        return name

    def _restart(self, name: str) -> str:
        self._start[name]()
        self.down.remove(name)
        return name

    def _kill_api(self) -> None:
        """In the midst of a request, of which nobody learns what became."""
        device_id, server = self.dice.choice(self.devices), self.servers["one"]
        with contextlib.ExitStack() as end:
            request = threading.Thread(target=self._attach_in_vain, args=(device_id, server.uuid))
            end.callback(request.join)
            request.start()
            request.join(self.dice.uniform(0, 0.1))
            self.stack.kill_api()
        owner = oracle.rows()[device_id]["instance_uuid"]
        assert owner in (self.claims[device_id], server.uuid), f"{device_id} went to {owner}"
        self.claims[device_id] = owner

    def _attach_in_vain(self, device_id: str, server_id: str) -> None:
        with contextlib.suppress(exceptions.ClientException):
            self.usb[PROJECT].attachments.create(server_id, device_id)

    def _kill_libvirtd(self) -> None:
        self._run(
            "pid=$(cat /run/libvirtd.pid); kill -KILL $pid; while [ -e /proc/$pid ]; do sleep 0.1; done"
        )

    def _run(self, command: str) -> None:
        self.stack.host.run(command)
