# SPDX-License-Identifier: Apache-2.0
"""A server uses a device of another host: API, conductor, two agents and their relays, as they are.

Only the hypervisor, the device and the message bus are played.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from compute_shim import nova, wire
from compute_shim.agent import relay_process
from compute_shim.agent import relays as relays_module
from compute_shim.agent.agent import Agent
from compute_shim.agent.relay_process import Options
from compute_shim.agent.relays import Relays
from compute_shim.agent.reporter import Reporter
from compute_shim.conductor.carrying import Carrying
from compute_shim.db import intent, queries
from compute_shim.hypervisor.base import Domain, Driver
from compute_shim.liveness import Window
from compute_shim.objects import Claim, ClaimStatus, Device, ReasonCode, Server
from tests.functional.programs import PATIENCE
from tests.functional.world import SERVERS, STICKS, World
from tests.pki import Authority
from tests.unit.agent.model import FakeDriver
from tests.unit.agent.test_agent import FakeDiscovery

SERVER = SERVERS["FAR"].id
VERSION = "1.4"


def until(condition: Callable[[], bool], what: Callable[[], object] = lambda: "it did not happen") -> None:
    """Wait for what other threads and processes do."""
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, what()
        time.sleep(0.05)


class Hypervisor(FakeDriver):
    """Connects to relays as QEMU does: once, when the channel is attached."""

    def __init__(self, domains: Iterable[Domain], devices: Iterable[Device]) -> None:
        super().__init__(domains, devices)
        self._connections: dict[str, socket.socket] = {}

    def attach_channel(self, uuid: str, device_id: str, path: str) -> None:
        super().attach_channel(uuid, device_id, path)
        connection = self._connections[device_id] = socket.socket(socket.AF_UNIX)
        connection.connect(path)

    def detach(self, uuid: str, device_id: str, *, live: bool, config: bool) -> Domain | None:
        if device_id in self._connections:
            self._connections.pop(device_id).close()
        return super().detach(uuid, device_id, live=live, config=config)


class Discovery(FakeDiscovery):
    """Knows devices by their serial numbers."""

    def scan(self, claims: Iterable[Claim]) -> list[Device]:
        known = {claim.serial: claim.device_id for claim in claims}
        self.scanned = [dataclasses.replace(it, device_id=known.get(it.serial)) for it in self.devices]
        return self.scanned

    def identify(self, claims: Iterable[Claim]) -> list[Device]:
        return self.scan(claims)

    def refresh(self, plugged: Device) -> Device | None:
        return plugged if plugged in self.scanned else None


class Conductor:
    """Carries what an agent says to the conductor, without a message bus."""

    def __init__(self, world: World, host: str) -> None:
        self._world = world
        self._host = host

    def sync(
        self,
        hypervisor: str,
        devices: Iterable[Device],
        problems: Iterable[str] = (),
        servers: Mapping[str, Server] | None = None,
        *,
        identified: bool = True,
    ) -> list[Claim]:
        version = wire.number(VERSION)
        told = [{"uuid": uuid, **wire.encode(it, version)} for uuid, it in (servers or {}).items()]
        answer = self._world.conductor.sync(
            {},
            self._host,
            hypervisor,
            VERSION,
            [wire.encode(device, version) for device in devices],
            list(problems),
            told,
            identified,
            "127.0.0.1",
        )
        return [wire.decode(Claim, claim) for claim in answer]

    def report(self, outcomes: Iterable[ClaimStatus], request_id: str | None = None) -> None:
        told = [wire.encode(outcome, wire.number(VERSION)) for outcome in outcomes]
        self._world.conductor.report({}, self._host, told)


class Host:
    """A host, and the agent there."""

    def __init__(self, world: World, name: str, directory: Path, options: Options, driver: Driver) -> None:
        self.name = name
        self.driver = driver
        self.discovery = Discovery([])
        self._world = world
        self._directory = directory
        self._options = options
        self.resets = 0

    def start(self) -> None:
        """Start the agent."""
        self.relays = Relays(self._options, self._directory / "run", dev=self._directory / "dev")
        self.relays.adopt()
        reporter = Reporter(Conductor(self._world, self.name), 0.5)  # type: ignore[arg-type]
        self.agent = Agent(
            self.driver,
            self.discovery,  # type: ignore[arg-type]
            reporter,
            3600.0,
            self._reset,
            relays=self.relays,
        )
        self._stopping = threading.Event()
        self._reporter = reporter
        self._threads = [
            threading.Thread(target=self.agent.run),
            threading.Thread(
                target=reporter.run, args=(lambda found: self.agent.claims_arrived(found, complete=True),)
            ),
            threading.Thread(target=self.relays.watch, args=(self.agent.relays_changed, self._stopping)),
        ]
        for thread in self._threads:
            thread.start()

    def _reset(self, device: Device) -> None:
        self.resets += 1

    def stop(self) -> None:
        """Stop the agent; what it has started goes on."""
        self._stopping.set()
        self.agent.stop()
        self._reporter.stop()
        for thread in self._threads:
            thread.join(PATIENCE)

    def relay(self) -> int | None:
        """The process of its relay."""
        found = [running.pid for running in self.relays.observe().values() if not running.ending]
        return found[0] if found else None


class Cloud:
    """Two hosts: the stick is on compute1, the server on compute2."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world = world
        authority = Authority(directory, "authority")
        domain = Domain(SERVER, "instance-1", True)
        stick = dataclasses.replace(
            STICKS["STICK1"], over_network=True, kind="dongle", socket="controller-1", plug_id="0a/2.2/5"
        )
        self.hosts = {}
        for name, domains, devices in (("compute1", [], [stick]), ("compute2", [domain], [])):
            place = directory / name
            node = place / f"dev/bus/usb/{stick.bus:03}/{stick.device:03}"
            node.parent.mkdir(parents=True)
            node.symlink_to("/dev/null")
            own = authority.issue(name, name)
            options = Options(own.cert, own.key, own.ca, (49300, 49399), 4, None)
            host = Host(world, name, place, options, Hypervisor(domains, devices))
            host.discovery.devices = list(devices)
            self.hosts[name] = host
        self.of_device, self.of_server = self.hosts["compute1"], self.hosts["compute2"]
        world.nudger.nudge = self._nudge  # type: ignore[method-assign]
        world.conductor._nudge = self._nudge
        for host in self.hosts.values():
            host.start()
        until(lambda: queries.host(world.db, "compute2") is not None)
        until(lambda: bool(queries.devices(world.db)))
        self.device_id = world.device_id("STICK1")
        self.carrying = Carrying(
            world.db, world.nudger, lambda: Window.now(world.conf), lambda server_id, host: True
        )

    def _nudge(self, device_id: str, context: Mapping[str, Any]) -> None:
        for host, _, claim in intent.claims_for_agents(self.world.db, device_id):
            self.hosts[host].agent.claims_arrived([claim], complete=False)

    def attach(self, **wanted: str) -> None:
        """The user asks for it."""
        body = {"attachment": wanted or {"device_id": self.device_id, "transport": "network"}}
        path = f"/v1/servers/{SERVER}/attachments"

        def asked() -> bool:
            answer = self.world.request("demo", "POST", path, body)
            # Until the agents have told all there is to tell.
            assert answer.status_int in (202, 409), answer.text
            return answer.status_int == 202

        until(asked)

    def state(self) -> tuple[str, str | None]:
        """State and reason of the stick."""
        row = queries.device(self.world.db, self.device_id)
        assert row is not None
        return row.state, row.reason_code

    def wait(self, state: str, code: str | None = None) -> None:
        """Wait until the stick is in a state."""
        until(lambda: self.state() == (state, code), self.state)

    def move(self, source: Host, target: Host) -> None:
        """The server migrates: its domain is on the other host, with the channel that it had."""
        domain = source.driver.state.pop(SERVER)  # type: ignore[attr-defined]
        target.driver.state[SERVER] = dataclasses.replace(domain, channels=())  # type: ignore[attr-defined]
        server = self.world.nova.servers[SERVER]
        moved = nova.host_id(server.project_id, target.name)
        self.world.nova.servers[SERVER] = dataclasses.replace(server, host_id=moved)
        for host in (source, target):
            host.driver.on_change(SERVER)  # type: ignore[attr-defined]

        def follows() -> bool:
            self.carrying.follow()
            return self.world.nova.servers[SERVER].host_id == moved and self._is_followed(target)

        until(follows)

    def _is_followed(self, target: Host) -> bool:
        claims = intent.claims_for_agents(self.world.db, self.device_id)
        return claims[-1][0] == target.name


@pytest.fixture
def cloud(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    # With a played device.
    monkeypatch.setattr(relay_process, "MODULE", "tests.functional.relay_here")
    monkeypatch.setattr(relays_module, "_LOOK_SECONDS", 0.05)
    # The path of a unix socket has at most 107 characters (unix(7)), too few for pytest's directories.
    with tempfile.TemporaryDirectory() as directory:
        cloud = Cloud(world, Path(directory))
        yield cloud
        for host in cloud.hosts.values():
            host.stop()
            for running in host.relays.observe().values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(running.pid, signal.SIGKILL)


def test_attached_and_detached(cloud: Cloud) -> None:
    cloud.attach()
    cloud.wait("attached")
    domain = cloud.of_server.driver.domain(SERVER)
    assert domain is not None
    assert (domain.channels, domain.live) == ((cloud.device_id,), ())
    assert cloud.of_device.relay() and cloud.of_server.relay()
    cloud.world.detach("demo", SERVER, cloud.device_id)
    cloud.wait("available")
    until(lambda: cloud.of_device.relay() is None and cloud.of_server.relay() is None)
    domain = cloud.of_server.driver.domain(SERVER)
    assert domain is not None
    assert domain.channels == ()
    assert cloud.of_device.resets == 1


def test_one_of_a_kind(cloud: Cloud) -> None:
    cloud.attach(kind="dongle", transport="any")
    cloud.wait("attached")
    domain = cloud.of_server.driver.domain(SERVER)
    assert domain is not None
    assert domain.channels == (cloud.device_id,)
    row = queries.device(cloud.world.db, cloud.device_id)
    assert row is not None
    assert row.claimed_kind == "dongle"


def test_both_agents_are_restarted(cloud: Cloud) -> None:
    cloud.attach()
    cloud.wait("attached")
    before = [host.relay() for host in cloud.hosts.values()]
    for host in cloud.hosts.values():
        host.stop()
        host.start()
    assert [host.relay() for host in cloud.hosts.values()] == before
    cloud.world.detach("demo", SERVER, cloud.device_id)
    cloud.wait("available")


@pytest.mark.parametrize("which", ["compute1", "compute2"])
def test_a_relay_is_killed(cloud: Cloud, which: str) -> None:
    cloud.attach()
    cloud.wait("attached")
    host = cloud.hosts[which]
    killed = host.relay()
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    until(lambda: host.relay() not in (None, killed))
    cloud.wait("attached")


def test_the_device_is_pulled_out_and_comes_back(cloud: Cloud) -> None:
    cloud.attach()
    cloud.wait("attached")
    killed = cloud.of_device.relay()
    assert killed is not None
    plugged, cloud.of_device.discovery.devices = cloud.of_device.discovery.devices, []
    os.kill(killed, signal.SIGTERM)  # as it ends itself
    cloud.of_device.agent.devices_changed()
    cloud.wait("waiting", ReasonCode.UNPLUGGED)
    until(lambda: cloud.of_server.relay() is None)
    cloud.of_device.discovery.devices = plugged
    cloud.of_device.agent.devices_changed()
    cloud.wait("attached")


def test_the_server_is_stopped_and_started(cloud: Cloud) -> None:
    cloud.attach()
    cloud.wait("attached")
    driver = cloud.of_server.driver
    domain = driver.state[SERVER]  # type: ignore[attr-defined]
    driver.state[SERVER] = dataclasses.replace(domain, running=False, channels=())  # type: ignore[attr-defined]
    driver.on_change(SERVER)  # type: ignore[attr-defined]
    cloud.wait("waiting", ReasonCode.SERVER_OFF)
    until(lambda: cloud.of_server.relay() is None)
    driver.state[SERVER] = Domain(SERVER, "instance-1", True)  # type: ignore[attr-defined]
    driver.on_change(SERVER)  # type: ignore[attr-defined]
    cloud.wait("attached")


def test_it_follows_the_server_to_its_own_host_and_back(cloud: Cloud) -> None:
    cloud.attach()
    cloud.wait("attached")
    cloud.move(cloud.of_server, cloud.of_device)
    cloud.wait("attached")
    until(lambda: cloud.of_device.relay() is None and cloud.of_server.relay() is None)
    domain = cloud.of_device.driver.domain(SERVER)
    assert domain is not None
    assert [hostdev.device_id for hostdev in domain.live] == [cloud.device_id]
    driver = cloud.of_device.driver
    driver.state[SERVER] = dataclasses.replace(domain, live=())  # type: ignore[attr-defined]
    cloud.move(cloud.of_device, cloud.of_server)
    cloud.wait("attached")
    assert cloud.of_device.relay() and cloud.of_server.relay()


def test_a_host_that_is_not_trusted(cloud: Cloud, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger").issue("compute2", "compute2")
    cloud.of_server.relays._options = Options(
        stranger.cert, stranger.key, stranger.ca, (49300, 49399), 4, None
    )
    cloud.attach()
    cloud.wait("waiting", ReasonCode.CHANNEL_REFUSED)
