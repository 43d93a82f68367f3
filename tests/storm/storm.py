# SPDX-License-Identifier: Apache-2.0
"""The service, its hosts and its users; `tests.functional.private_servers` has to be imported before it."""

from __future__ import annotations

import json
import random
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from concurrent import futures

import sqlalchemy as sa

from lab.paths import RUN
from tests.functional.private_servers import PrivateServers
from tests.storm import oracle, settings
from tests.storm.asking import Asker, Tally, Unexpected
from tests.storm.client import Client
from tests.storm.host import DEVICES, Host
from tests.storm.programs import Programs, kill_at_random

PROJECTS = ("d" * 32, "e" * 32)
HOSTS = ("compute1", "compute2", "compute3", "compute4")
CLIENTS_PER_HOST = 3
SERVERS_PER_CLIENT = 2

_ADMIN = ("admin", "member", "reader")
# Far beyond what it takes to come to an agreement, beside other work.
_PATIENCE = 300.0
# Longer than agents take between two looks at everything, so that a late message would show.
_CALM_SECONDS = 10.0


class Storm:
    """The service, its hosts, and all that happens to them."""

    def __init__(self, servers: PrivateServers) -> None:
        self.ledger = oracle.Ledger()
        self.tally = Tally()
        self.over = threading.Event()
        self._servers = servers
        self._database_url = servers.create_database()
        # Server ids of each client, by host.
        self._owned = {
            host: [[str(uuid.uuid4()) for _ in range(SERVERS_PER_CLIENT)] for _ in range(CLIENTS_PER_HOST)]
            for host in HOSTS
        }
        self._programs = Programs(servers, self._database_url, RUN / "servers.json")
        self._hosts: list[Host] = []

    def up(self) -> None:
        """Start everything, and wait until all devices can be attached."""
        self._servers.start_rabbitmq()
        self._write_servers()
        self._servers.create_schema(self._database_url)
        self._programs.start_all()
        for name in HOSTS:
            servers = [server for owned in self._owned[name] for server in owned]
            file = self._servers.configure(name)
            self._hosts.append(Host(name, file, servers, _dice(name), self.ledger.violations.append))
        self._wait(self._not_up)

    def blow(self) -> None:
        """Let clients and killer do their work, until the time is up or something is wrong."""
        devices = self._devices()
        work: list[Callable[[], None]] = [
            client.run for host in self._hosts for client in self._clients(host, devices[host.name])
        ]
        work.append(lambda: kill_at_random(self._programs, self.tally, _dice("killer"), self.over))
        deadline = time.monotonic() + settings.SECONDS
        with futures.ThreadPoolExecutor(len(work)) as pool:
            running = [pool.submit(self._guarded, each) for each in work]
            try:
                while time.monotonic() < deadline and not self.ledger.violations:
                    time.sleep(0.5)
            finally:
                self.over.set()
            # Some of them come to know what became of their last request only when an API runs.
            futures.wait(running)

    def settle(self) -> None:
        """Start what was killed, and wait until all agree, and see that it stays so."""
        self._programs.start_all()
        began = time.monotonic()
        self._wait(self._disagreements)
        print(f"settled after {time.monotonic() - began:.1f} s", flush=True)
        time.sleep(_CALM_SECONDS)
        self.ledger.violations += self._disagreements()

    def down(self) -> None:
        """Stop the agents."""
        self.over.set()
        for host in self._hosts:
            host.stop()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Unexpected as error:
            self.ledger.violations.append(str(error))
        except Exception:
            self.ledger.violations.append(traceback.format_exc())

    def _clients(self, host: Host, devices: list[str]) -> list[Client]:
        clients = []
        for number, servers in enumerate(self._owned[host.name]):
            dice = _dice(f"{host.name}-{number}")
            asker = Asker(self._project(host.name, number), _ADMIN[1:], self._urls(), self.tally, dice)
            clients.append(
                Client(asker, servers, devices, host.driver, self.ledger, self.tally, dice, self.over)
            )
        return clients

    def _project(self, host: str, number: int) -> str:
        """Of a client: each host has clients of both projects."""
        return PROJECTS[(HOSTS.index(host) + number) % len(PROJECTS)]

    def _urls(self) -> list[str]:
        return list(self._programs.urls.values())

    def _write_servers(self) -> None:
        known = {
            server: {"project_id": self._project(host, number), "host": host}
            for host, clients in self._owned.items()
            for number, servers in enumerate(clients)
            for server in servers
        }
        (RUN / "servers.json").write_text(json.dumps(known))

    def _shown(self, url: str) -> list[dict[str, str]]:
        """The devices that an API shows an operator."""
        asker = Asker("a" * 32, _ADMIN, [url], self.tally, random.Random())
        return asker.ask("show all", "GET", "/v1/devices").body["devices"]

    def _devices(self) -> dict[str, list[str]]:
        """The ids of the devices, by host."""
        found: dict[str, list[str]] = {host: [] for host in HOSTS}
        for device in sorted(self._shown(self._urls()[0]), key=lambda device: device["port"]):
            found[device["host"]].append(device["id"])
        return found

    def _not_up(self) -> list[str]:
        free = sum(device["state"] == "available" for device in self._shown(self._urls()[0]))
        wanted = len(HOSTS) * DEVICES
        return [] if free == wanted else [f"{free} of {wanted} devices are available"]

    def _disagreements(self) -> list[str]:
        shown = {
            name: {device["id"]: (device["state"], device["server_id"]) for device in self._shown(url)}
            for name, url in self._programs.urls.items()
        }
        domains = {server: host.driver.inside(server) for host in self._hosts for server in host.driver.state}
        devices = {device for ids in self._devices().values() for device in ids}
        return list(oracle.disagreements(self.ledger.claims(), devices, self._rows(), shown, domains))

    def _rows(self) -> dict[str, tuple[str, str | None]]:
        engine = sa.create_engine(self._database_url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            rows = connection.execute(sa.text("SELECT id, state, instance_uuid FROM host_usb_devices"))
            return {row.id: (row.state, row.instance_uuid) for row in rows}

    def _wait(self, wrong: Callable[[], list[str]]) -> None:
        """Wait until nothing is wrong; what still is when patience ends is a violation."""
        deadline = time.monotonic() + _PATIENCE
        while complaints := wrong():
            if time.monotonic() > deadline:
                self.ledger.violations += complaints
                return
            time.sleep(1)


def _dice(name: str) -> random.Random:
    """For each thread of its own, so that the others do not change what it tries."""
    return random.Random(f"{settings.SEED} {name}")
