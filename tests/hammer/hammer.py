# SPDX-License-Identifier: Apache-2.0
"""The service, one host, and its users; `tests.functional.private_servers` has to be imported before it."""

from __future__ import annotations

import json
import random
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from concurrent import futures
from http import HTTPStatus
from pathlib import Path

import sqlalchemy as sa

from compute_shim.hypervisor.base import Domain
from lab.paths import RUN
from lab.stack_nova import HOST
from tests.functional.private_servers import PrivateServers
from tests.hammer import oracle, settings
from tests.storm.asking import Asker, Tally, Unexpected
from tests.storm.host import StormDiscovery, StormDriver, run_agent
from tests.storm.programs import CONDUCTORS, Programs, kill_at_random

KIND = "stick"
STICKS = 4
PROJECTS = ("d" * 32, "e" * 32)
#: The project of each server.
SERVERS = (PROJECTS[0], PROJECTS[0], PROJECTS[1])

_OPTIONS = (
    f"[api]\nmax_devices_per_server = {oracle.MOST_DEVICES}\n"
    "[conductor]\ndeleted_server_interval = 2\nhost_down_time = 60\n"
)
_ADMIN = ("admin", "member", "reader")
_LONGEST_PAUSE = 0.6
_LOOK_SECONDS = 0.25
_PATIENCE = 300.0
_REFUSALS = ("kind_not_free", "kind_not_found", "no_free_usb_port", "queued_for_others")


class HammerPrograms(Programs):
    """As for the storm, but that conductors learn from a file which servers are deleted."""

    def start(self, name: str) -> None:
        if name not in CONDUCTORS:
            super().start(name)
            return
        file = self._servers.configure(name, self._database_url)
        arguments: list[str | Path] = ["-m", "lab.stack_conductor", self._servers_file, "--config-file", file]
        self._servers.start_python(name, arguments)
        self.down.remove(name)


class Hammer:
    """A run on one database."""

    def __init__(self, servers: PrivateServers, database_url: str) -> None:
        self.violations: list[str] = []
        self.tally = Tally()
        self.over = threading.Event()
        servers.options = _OPTIONS
        self._servers = servers
        self._database_url = database_url
        self._file = RUN / "servers.json"
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, str]] = {}
        self._programs = HammerPrograms(servers, database_url, self._file)
        discovery = StormDiscovery(STICKS, kind=KIND)
        self._driver = StormDriver([], discovery.devices, _dice("host"), self.violations.append)
        self._discovery = discovery
        self._stop_agent: Callable[[], None] = lambda: None
        self._watcher = oracle.Watcher()
        self._engine = sa.create_engine(database_url, poolclass=sa.NullPool)
        self._last: oracle.Moment | None = None
        # Acknowledged places in line; and those whose end is explained.
        self.joined: dict[str, tuple[str, float]] = {}
        self.explained: set[str] = set()

    def up(self) -> None:
        """Start everything, and wait until the sticks are there."""
        self._servers.start_rabbitmq()
        self._write_servers()
        self._servers.create_schema(self._database_url)
        self._programs.start_all()
        self._stop_agent = run_agent(self._servers.configure(HOST), self._driver, self._discovery)
        deadline = time.monotonic() + _PATIENCE
        while len(self._look().sticks) < STICKS:
            assert time.monotonic() < deadline, "the sticks do not appear"
            time.sleep(1)

    def strike(self) -> None:
        """Let everybody do their work, until the time is up or something is wrong."""
        work: list[Callable[[], None]] = [
            *(User(self, project, number).run for number, project in enumerate(SERVERS)),
            self._share_at_random,
            self._watch,
            lambda: kill_at_random(self._programs, self.tally, _dice("killer"), self.over),
        ]
        deadline = time.monotonic() + settings.SECONDS
        with futures.ThreadPoolExecutor(len(work)) as pool:
            running = [pool.submit(self._guarded, each) for each in work]
            while time.monotonic() < deadline and not self.violations:
                time.sleep(0.5)
            self.over.set()
            futures.wait(running)

    def settle(self) -> None:
        """Start what was killed; then nobody is in line for what is free, and no place is lost."""
        self._programs.start_all()
        deadline = time.monotonic() + _PATIENCE
        while True:
            now = self._look()
            self.violations += self._watcher.see(now)
            idle = [
                stick.id
                for stick in now.sticks.values()
                if stick.state == "available" and any(now.eligible(entry, stick) for entry in now.line)
            ]
            busy = [it.id for it in now.sticks.values() if it.state in ("attaching", "detaching")]
            if not idle and not busy:
                break
            if time.monotonic() > deadline:
                self.violations.append(f"idle {idle}, in progress {busy}")
                break
            time.sleep(1)
        self.violations += oracle.lost(self.joined, self.explained, now.line, self._watcher.served)
        for stick in now.sticks.values():
            inside = [server for server in self._driver.state if stick.id in self._driver.inside(server)]
            if stick.state == "attached" and inside != [stick.server]:
                self.violations.append(f"stick {stick.id} is {stick.server}'s, and in {inside}")

    def down(self) -> None:
        """Stop the agent and the programs."""
        self.over.set()
        self._stop_agent()
        self._servers.stop_processes()

    def asker(self, project: str, name: str, roles: tuple[str, ...] = _ADMIN[1:]) -> Asker:
        """Somebody who asks the APIs."""
        return Asker(project, roles, list(self._programs.urls.values()), self.tally, _dice(name))

    def create_server(self, project: str) -> str:
        """A server that runs; its id."""
        server = str(uuid.uuid4())
        with self._lock:
            self._known[server] = {"project_id": project, "host": HOST}
            self._write_servers()
            self._driver.state[server] = Domain(server, f"instance-{server}", running=True)
        self._driver.on_change(server)
        return server

    def delete_server(self, server: str) -> None:
        """It is gone, in Nova and on the host."""
        with self._lock:
            del self._known[server]
            self._write_servers()
            del self._driver.state[server]
        self._driver.on_change(server)

    def _write_servers(self) -> None:
        whole = self._file.with_suffix(".new")
        whole.write_text(json.dumps(self._known))
        whole.replace(self._file)

    def _look(self) -> oracle.Moment:
        with self._engine.connect() as connection:
            if connection.dialect.name != "sqlite":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            since = self._last.last_event if self._last else 0
            self._last = oracle.look(connection, since, PROJECTS)
            return self._last

    def _watch(self) -> None:
        while not self.over.wait(_LOOK_SECONDS):
            self.violations += self._watcher.see(self._look())

    def _share_at_random(self) -> None:
        """An operator shares the sticks with all, with one project, or with none."""
        dice, admin = _dice("sharing"), self.asker("a" * 32, "admin", _ADMIN)
        while not self.over.wait(dice.uniform(1, 4)):
            stick = dice.choice(
                sorted(self._look().sticks) if self._last is None else sorted(self._last.sticks)
            )
            project = dice.choice(PROJECTS)
            path = f"/v1/devices/{stick}"
            deeds = [
                ("PATCH", path, {"device": {"shared": True}}),
                ("PATCH", path, {"device": {"shared": None}}),
                ("PATCH", path, {"device": {"shared": False}}),
                ("PUT", f"{path}/projects/{project}", None),
                ("DELETE", f"{path}/projects/{project}", None),
            ]
            method, address, body = dice.choices(deeds, [3, 3, 1, 2, 2])[0]
            answer = admin.ask("share", method, address, body)
            if answer.status >= HTTPStatus.BAD_REQUEST:
                raise Unexpected(f"{method} {address}: {answer}")

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Unexpected as error:
            self.violations.append(str(error))
        except Exception:
            self.violations.append(traceback.format_exc())


class User:
    """Who has one server at a time."""

    def __init__(self, hammer: Hammer, project: str, number: int) -> None:
        self._hammer = hammer
        self._project = project
        self._dice = _dice(f"user {number}")
        self._asker = hammer.asker(project, f"asker {number}")
        self._server = hammer.create_server(project)

    def run(self) -> None:
        """Use sticks until it is over."""
        deeds = [self._attach, self._detach, self._join, self._leave, self._extend, self._replace_server]
        while not self._hammer.over.wait(self._dice.uniform(0, _LONGEST_PAUSE)):
            self._dice.choices(deeds, [4, 4, 5, 1, 1, 0.4])[0]()

    def _lease(self) -> dict[str, int]:
        return {"lease": self._dice.randint(1, 8)} if self._dice.random() < 0.5 else {}

    def _attach(self) -> None:
        # Whether the server is in line for the kind afterwards is not known before the answer is.
        self._explain()
        body = {"attachment": {"kind": KIND, **self._lease()}}
        answer = self._asker.ask("attach", "POST", f"{self._path}/attachments", body)
        over_quota = answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if not over_quota and answer.status != HTTPStatus.ACCEPTED and answer.reason_code not in _REFUSALS:
            raise Unexpected(f"attach to {self._server}: {answer}")

    def _held(self) -> list[str]:
        answer = self._asker.ask("list", "GET", f"{self._path}/attachments")
        if answer.status != HTTPStatus.OK:
            raise Unexpected(f"list of {self._server}: {answer}")
        return [item["device_id"] for item in answer.body["attachments"]]

    def _detach(self) -> None:
        for device_id in self._held()[:1]:
            answer = self._asker.ask("detach", "DELETE", f"{self._path}/attachments/{device_id}")
            if answer.status not in (HTTPStatus.ACCEPTED, HTTPStatus.NOT_FOUND):
                raise Unexpected(f"detach {device_id} from {self._server}: {answer}")

    def _extend(self) -> None:
        for device_id in self._held()[:1]:
            body = {"attachment": {"lease": self._dice.choice([None, 3, 10])}}
            answer = self._asker.ask("extend", "PATCH", f"{self._path}/attachments/{device_id}", body)
            if answer.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
                raise Unexpected(f"extend {device_id} of {self._server}: {answer}")

    def _join(self) -> None:
        body = {"entry": {"kind": KIND, **self._lease()}}
        answer = self._asker.ask("join", "POST", f"{self._path}/queue", body)
        if answer.status == HTTPStatus.ACCEPTED:
            self._hammer.joined[answer.body["entry"]["id"]] = (self._server, time.monotonic())
        elif answer.reason_code != "kind_not_found":
            raise Unexpected(f"join of {self._server}: {answer}")

    def _leave(self) -> None:
        self._explain()
        answer = self._asker.ask("line", "GET", f"{self._path}/queue")
        for entry in answer.body["queue"]:
            gone = self._asker.ask("leave", "DELETE", f"{self._path}/queue/{entry['id']}")
            if gone.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND):
                raise Unexpected(f"leave {entry}: {gone}")

    def _replace_server(self) -> None:
        self._explain()
        self._hammer.delete_server(self._server)
        self._server = self._hammer.create_server(self._project)

    def _explain(self) -> None:
        """All places of the server may be gone from now on."""
        self._hammer.explained.update(
            entry_id for entry_id, (server, _) in self._hammer.joined.items() if server == self._server
        )

    @property
    def _path(self) -> str:
        return f"/v1/servers/{self._server}"


def database(kind: str, servers: PrivateServers, directory: Path) -> str:
    """The URL of a new database of a kind: sqlite or mariadb."""
    return servers.create_database() if kind == "mariadb" else f"sqlite:///{directory}/hammer.sqlite"


def _dice(name: str) -> random.Random:
    """For each thread of its own, so that the others do not change what it tries."""
    return random.Random(f"{settings.SEED} {name}")
