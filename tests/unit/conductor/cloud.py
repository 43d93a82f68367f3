# SPDX-License-Identifier: Apache-2.0
"""A conductor that looks for absent servers, with a Nova to ask and a clock that goes as it is told."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import requests_mock
import sqlalchemy as sa
from keystoneauth1 import noauth
from oslo_config import cfg
from oslo_utils import timeutils

from compute_shim import nova, nudger
from compute_shim.conductor.evidence import Witnesses
from compute_shim.conductor.server_sync import ServerSync
from compute_shim.conf import nova as nova_conf
from compute_shim.db import models, queries
from compute_shim.db.api import Database
from compute_shim.db.leases import Lease
from compute_shim.liveness import Window
from compute_shim.objects import ClaimStatus, Device, ReasonCode, State
from novaclient_usb.reason_codes import describe
from tests.unit.clock import Clock
from tests.unit.db.test_states import HOST, STICK, empty_database

URL = "http://nova.example"
INTERVAL = 60
_UP = datetime.timedelta(seconds=60)


class Compute:
    """Nova, as far as it is asked: what it has, what it answers instead, and what it was asked."""

    def __init__(self, mocker: requests_mock.Mocker) -> None:
        self.servers: dict[str, dict[str, Any]] = {}
        self.deleted: set[str] = set()
        self.soft_deleted: set[str] = set()
        self.hosts = [HOST]
        self.failures: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        mocker.get(requests_mock.ANY, json=self._answer)

    def boot(self, server_id: str, host: str = HOST, **fields: Any) -> None:
        """There is a server; it is on no host if the name is empty."""
        self.servers[server_id] = {
            "id": server_id,
            "tenant_id": "demo",
            "user_id": "somebody",
            "hostId": nova.host_id("demo", host) if host else "",
            "locked": False,
            "status": "SHUTOFF",
            "host": host,
            **fields,
        }

    def fail(self, path: str, **answer: Any) -> None:
        """From now on this is answered to whatever is asked below a path."""
        self.failures[path] = answer

    def _answer(self, request: Any, context: Any) -> Any:
        self.asked.append(request.path)
        for path, answer in self.failures.items():
            if request.path.startswith(path):
                context.status_code = answer["status_code"]
                return answer.get("json", {})
        query = {name: values[0] for name, values in request.qs.items()}
        if request.path == "/os-services":
            return {"services": [{"host": host, "binary": "nova-compute"} for host in self.hosts]}
        if request.path == "/servers/detail":
            return {"servers": self._listed(query)}
        server_id = request.path.rpartition("/")[2]
        if server_id in self.servers:
            return {"server": self.servers[server_id]}
        context.status_code = 404
        return {"itemNotFound": {"code": 404, "message": "Instance could not be found."}}

    def _listed(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        if query.get("deleted") == "true":
            gone = [(name, "DELETED") for name in self.deleted]
            gone += [(name, "SOFT_DELETED") for name in self.soft_deleted]
            return [{"id": name, "status": status} for name, status in gone if name == query["uuid"]]
        filters = {"host": query.get("host"), "id": query.get("uuid")}
        wanted = {name: value for name, value in filters.items() if value is not None}
        return [server for server in self.servers.values() if wanted.items() <= server.items()]


class Nudger(nudger.Nudger):
    """Remembers which devices agents were told of, and on whose request."""

    def __init__(self) -> None:
        self.nudged: list[tuple[str, Mapping[str, Any]]] = []

    def nudge(self, device_id: str, context: Mapping[str, Any]) -> None:
        self.nudged.append((device_id, context))


class Cloud:
    """One host with claims, a Nova, a conductor and a clock."""

    def __init__(self, compute: Compute, clock: Clock) -> None:
        self.db = empty_database()
        self.compute = compute
        self.clock = clock
        # The defaults of columns do not ask this clock: what they date must not be in its future.
        clock.jump(INTERVAL / 2)
        self.monotonic = 0.0
        self.up = {HOST}
        self.obstacle: str | None = None
        self.nudger = Nudger()
        self.witnesses = self._witnesses(self.db)
        self.conductor = self.new_conductor()

    def new_conductor(self, name: str = "one", db: Database | None = None) -> ServerSync:
        """A conductor that has just been started."""
        db = db or self.db
        return ServerSync(
            db,
            self._witnesses(db),
            self.nudger,
            Lease(db, "server-sync", name, 600),
            self.window,
            lambda: self.obstacle,
            INTERVAL,
            lambda: self.monotonic,
        )

    def _witnesses(self, db: Database) -> Witnesses:
        conf = cfg.ConfigOpts()
        nova_conf.register(conf)
        conf([], default_config_files=[], default_config_dirs=[])
        conf.set_override("endpoint_override", URL, group="nova")
        return Witnesses(db, nova.Nova(conf), noauth.NoAuth())

    def window(self) -> Window:
        """Hosts of which an agent was heard in this time are up."""
        now = timeutils.utcnow()
        return Window(now - _UP, now + _UP)

    def claims(
        self,
        count: int,
        state: State = State.WAITING,
        code: ReasonCode | None = ReasonCode.DOMAIN_ABSENT,
        host: str = HOST,
        version: str = "1.1",
    ) -> list[str]:
        """So many servers have a device each; their ids."""
        names = [f"{host[-1]}0000000-0000-0000-0000-{number:012}" for number in range(count)]
        sticks = [Device(**{**vars(STICK), "identity": f"0781:5567:{name}"}) for name in names]
        queries.sync_host(self.db, host, "QEMU", version, sticks)
        row = models.Device
        with self.db.writer() as session:
            session.execute(
                sa.update(row)
                .where(row.host == host)
                .values(instance_uuid=sa.func.substr(row.identity, 11), project_id="demo", generation=1)
                .values(state=state, reason_code=code, state_reason=describe(code))
            )
        return names

    def say(self, state: State, code: ReasonCode | None) -> None:
        """What the agents say of every claim now."""
        for row in queries.devices(self.db):
            outcome = ClaimStatus(row.id, row.generation, state, reason_code=code)
            queries.record_statuses(self.db, row.host, [outcome])

    def domain(self, server_id: str, host: str = HOST) -> None:
        """An agent reports a domain."""
        with self.db.writer() as session:
            session.add(models.Instance(instance_uuid=server_id, host=host, running=False))

    def wait(self, seconds: float = INTERVAL, wall: float | None = None) -> None:
        """Time passes; the clock on the wall may say otherwise."""
        self.monotonic += seconds
        self.clock.jump(seconds if wall is None else wall)

    def look(self, times: int = 1, conductor: ServerSync | None = None) -> None:
        """So many passes, an interval before each."""
        for _ in range(times):
            self.wait()
            self.keep_alive()
            (conductor or self.conductor)()

    def expire_lease(self) -> None:
        """The lease of whoever leads ends."""
        with self.db.writer() as session:
            session.execute(sa.delete(models.Lease))

    def keep_alive(self) -> None:
        """The agents that are up have just synced."""
        with self.db.writer() as session:
            session.execute(
                sa.update(models.Host)
                .where(models.Host.host.in_(self.up))
                .values(last_seen=timeutils.utcnow())
            )

    def rows(self, *states: State) -> list[models.Device]:
        """The devices in some states, or all."""
        return [row for row in queries.devices(self.db) if not states or row.state in states]

    @property
    def released(self) -> set[str | None]:
        """The servers whose device was given back."""
        return {row.instance_uuid for row in self.rows(State.DETACHING)}


def nothing_changes(cloud: Cloud, act: Callable[[], None]) -> None:
    """Whatever happens, no claim may come of it."""
    before = [_claim(row) for row in cloud.rows()]
    act()
    assert [_claim(row) for row in cloud.rows()] == before


def _claim(row: models.Device) -> Iterable[Any]:
    return row.id, row.generation, row.state, row.reason_code, row.instance_uuid, row.absent_seen
