# SPDX-License-Identifier: Apache-2.0
"""A small cloud around the real API and the real conductor: some servers, some agents, some sticks.

Keystone and Nova are stood in for where their libraries are called; everything else is what runs in
production, on a real database.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import webob
import webob.dec
from keystonemiddleware import fixture as keystone_fixture
from oslo_utils import timeutils

from compute_shim import conf as configuration
from compute_shim import exception, nova, rpc
from compute_shim.api import deploy
from compute_shim.conductor.carrying import Carrying
from compute_shim.conductor.manager import Manager
from compute_shim.conductor.serving import Serving
from compute_shim.conf import database
from compute_shim.db import intent, migrations, models, queries
from compute_shim.db.api import Database
from compute_shim.liveness import Window
from compute_shim.objects import Claim, Device, ReasonCode

DEMO_PROJECT = "d" * 32
OTHER_PROJECT = "e" * 32
ADMIN_PROJECT = "a" * 32

# Token -> project and roles, as Keystone hands them out: admin implies member, member implies reader.
TOKENS = {
    "demo": (DEMO_PROJECT, ["member", "reader"]),
    "demo-reader": (DEMO_PROJECT, ["reader"]),
    "demo-nobody": (DEMO_PROJECT, []),
    "other": (OTHER_PROJECT, ["member", "reader"]),
    "admin": (ADMIN_PROJECT, ["admin", "member", "reader"]),
    "unscoped": (None, []),
    "unscoped-admin": (None, ["admin", "member", "reader"]),
}


def _server(number: int, project_id: str, host: str, locked: bool = False) -> nova.Server:
    return nova.Server(
        id=f"00000000-0000-0000-0000-{number:012}",
        project_id=project_id,
        host_id=nova.host_id(project_id, host) if host else "",
        locked=locked,
        user_id=f"maker-of-{number}",
    )


SERVERS = {
    "DEMO": _server(1, DEMO_PROJECT, "compute1"),
    "DEMO2": _server(2, DEMO_PROJECT, "compute1"),
    "OTHER": _server(3, OTHER_PROJECT, "compute1"),
    "LOCKED": _server(4, DEMO_PROJECT, "compute1", locked=True),
    "FAR": _server(5, DEMO_PROJECT, "compute2"),
    "SHELVED": _server(6, DEMO_PROJECT, ""),
    "AGENTLESS": _server(7, DEMO_PROJECT, "compute9"),
}

STICKS = {
    name: Device(
        identity=f"0781:5567:{name}",
        name="SanDisk Corp. Cruzer Blade",
        vendor_id="0781",
        product_id="5567",
        vendor="SanDisk Corp.",
        product="Cruzer Blade",
        serial=name,
        device_class="08",
        speed="480",
        port=f"2-{number}",
        bus=2,
        device=number + 1,
        shared=True,
    )
    for number, name in enumerate(["STICK1", "STICK2", "STICK3", "STICK4"], start=1)
}

_CONFIGURATION = """
[DEFAULT]
host = controller
[database]
connection = {connection}
[api]
# So that what a test sees does not depend on how busy its machine is.
request_timeout = 60
[keystone_authtoken]
www_authenticate_uri = http://keystone.example
auth_type = none
"""


_HEAD = migrations.head()
_AWAY = exception.Unavailable("The Compute service (Nova) is unavailable.", ReasonCode.COMPUTE_UNAVAILABLE)


class Nova:
    """Stands in for `compute_shim.nova.Nova`, and shows servers to whom Nova would."""

    def __init__(self) -> None:
        self.servers = {server.id: server for server in SERVERS.values()}
        self.away = False
        self.open = False
        self.hidden: set[str] = set()

    def own_servers(self, auth: Any) -> list[nova.Server]:
        if self.away:
            raise _AWAY
        return [server for server in self.servers.values() if server.project_id == auth.user.project_id]

    def sees_all_projects(self, auth: Any) -> bool:
        return self.open or "admin" in auth.user.role_names

    def server(self, auth: Any, server_id: str) -> nova.Server:
        if self.away:
            raise _AWAY
        if server_id in self.hidden:
            raise nova.Hidden(str(nova.no_server(server_id)), ReasonCode.SERVER_NOT_FOUND)
        server = self.servers.get(server_id)
        if server is None or not (
            self.open or "admin" in auth.user.role_names or auth.user.project_id == server.project_id
        ):
            raise nova.no_server(server_id)
        return server


class Keystone:
    """Stands in for `compute_shim.keystone.Keystone`."""

    def __init__(self) -> None:
        self.quota: dict[str, int] = {}

    def lacks_project(self, auth: Any, project_id: str) -> bool:
        return project_id not in (DEMO_PROJECT, OTHER_PROJECT, ADMIN_PROJECT)

    def limits(self, project_id: str) -> dict[str, int]:
        return self.quota


class Nudger:
    """Stands in for `compute_shim.nudger.Nudger`: what an agent would be told, and on whose request."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.nudges: list[tuple[str, Claim]] = []
        self.contexts: list[Mapping[str, Any]] = []

    def nudge(self, device_id: str, context: Mapping[str, Any]) -> None:
        found = intent.claims_for_agents(self._db, device_id)
        assert found
        self.nudges += [(host, claim) for host, _, claim in found]
        self.contexts.append(context)


def _create_tables(db: Database) -> None:
    """What `migrations.upgrade` makes of an empty database."""
    with db.engine().begin() as connection:
        models.Base.metadata.create_all(connection)
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES (:head)"), {"head": _HEAD})


class World:
    """The cloud.

    :param connection: URL of an empty database.
    :param directory: for the configuration file.
    :param migrated: its tables are made as an operator makes them. To make them of the models takes a third
        of the time; test_database.py compares both.
    """

    def __init__(self, connection: str, directory: Path, *, migrated: bool = False) -> None:
        file = directory / "usb-shim.conf"
        file.write_text(_CONFIGURATION.format(connection=connection.replace("%", "%%").replace("$", "$$")))
        self.conf = configuration.load([f"--config-file={file}"])
        database.register(self.conf)
        self.db = Database(self.conf)
        if migrated:
            migrations.upgrade(self.db)
        else:
            _create_tables(self.db)
        self.nova = Nova()
        # Of each server, as the agents tell; None: they do not.
        self.usb_ports: int | None = None
        # The hosts that take part in the network transport.
        self.relays: set[str] = set()
        # Host -> what its agent told last.
        self.plugged: dict[str, dict[str, Any]] = {}
        self.keystone = Keystone()
        self.nudger = Nudger(self.db)
        self.conductor = Manager(self.db, nudge=self.nudger.nudge)
        self.api = deploy.deploy(self.conf, self.db, self.nova, self.keystone, self.nudger)

    def sync(self, host: str = "compute1", **changes: Any) -> list[dict[str, Any]]:
        """The agent of a host tells what is plugged.

        :param changes: stick -> fields that differ from those above. Only these sticks are plugged.
        """
        self.plugged[host] = changes
        devices = [dataclasses.asdict(STICKS[name]) | fields for name, fields in changes.items()]
        here = [
            {"uuid": server.id, "running": True, "usb_ports": self.usb_ports}
            for server in self.nova.servers.values()
            if server.host_id == nova.host_id(server.project_id, host)
        ]
        relay = f"{host}.example" if host in self.relays else None
        return self.conductor.sync(
            {}, host, "QEMU 7.2.22", rpc.CONDUCTOR_VERSION, devices, servers=here, relay_address=relay
        )

    def report(
        self,
        device_id: str,
        state: str,
        reason: str | None = None,
        reason_code: str | None = None,
        generation: int = 0,
        host: str | None = None,
        **later: Any,
    ) -> None:
        """The agent of a device's host, or of another one, tells what became of the claim.

        :param generation: less than that of the claim by so much.
        :param later: fields of later versions of the RPC.
        """
        row = queries.device(self.db, device_id)
        assert row is not None
        outcome = {
            "device_id": device_id,
            "generation": row.generation - generation,
            "state": state,
            "reason": reason,
            "reason_code": reason_code,
            **later,
        }
        self.conductor.report({}, host or row.host, [outcome])

    def silence(self, host: str) -> None:
        """The agent of a host has not been heard of for long."""
        past = timeutils.utcnow() - datetime.timedelta(seconds=self.conf.conductor.host_down_time + 1)
        with self.db.writer() as session:
            session.execute(sa.update(models.Host).where(models.Host.host == host).values(last_seen=past))

    def device_id(self, stick: str) -> str:
        """What the API calls a stick."""
        rows = queries.devices(self.db, models.Device.identity == STICKS[stick].identity)
        return rows[0].id

    def request(self, token: str, method: str, path: str, body: Any = None) -> webob.Response:
        """What a client gets."""
        request = webob.Request.blank(path, method=method, headers={"X-Auth-Token": token})
        if body is not None:
            request.json = body
        return request.get_response(self.api)

    def attach(self, token: str, server_id: str, device_id: str) -> webob.Response:
        """Somebody wants a device."""
        body = {"attachment": {"device_id": device_id}}
        return self.request(token, "POST", f"/v1/servers/{server_id}/attachments", body)

    def attach_kind(self, token: str, server_id: str, kind: str) -> webob.Response:
        """Somebody wants a device of a kind."""
        body = {"attachment": {"kind": kind}}
        return self.request(token, "POST", f"/v1/servers/{server_id}/attachments", body)

    def detach(self, token: str, server_id: str, device_id: str) -> webob.Response:
        """Somebody gives it back."""
        return self.request(token, "DELETE", f"/v1/servers/{server_id}/attachments/{device_id}")


@contextlib.contextmanager
def tokens() -> Iterator[None]:
    """While this lasts, keystonemiddleware takes the tokens above."""
    keystone = keystone_fixture.AuthTokenFixture()
    with keystone:
        for name, (project_id, roles) in TOKENS.items():
            keystone.add_token_data(
                name,
                user_id=f"user-of-{name}",
                project_id=project_id,
                role_list=roles,
                user_domain_id="default",
                project_domain_id="default" if project_id else None,
            )
        yield


class Stage:
    """A WSGI application for transcripts: the API, and below ``/stage`` what happens around it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._acts: dict[str, Callable[..., Any]] = {
            "sync": self._sync,
            "report": self._report,
            "silence": self._silence,
            "nova": self._nova,
            "nudge": self._nudge,
            "quota": self._quota,
            "leases": self._leases,
            "serve": self._serve,
            "relays": self._relays,
            "move": self._move,
            "follow": self._follow,
        }

    @webob.dec.wsgify
    def __call__(self, request: webob.Request) -> Any:
        if request.path_info_peek() != "stage":
            return self._world.api
        request.path_info_pop()
        result = self._acts[request.path_info_pop()](**(request.json if request.body else {}))
        return webob.Response(json=result)

    def _sync(self, host: str, sticks: dict[str, dict[str, Any]], usb_ports: int | None = None) -> Any:
        self._world.usb_ports = usb_ports
        return self._world.sync(host, **sticks)

    def _report(self, **arguments: Any) -> None:
        self._world.report(**arguments)

    def _silence(self, host: str) -> None:
        self._world.silence(host)

    def _nova(self, delete: str | None = None, away: bool = False, open: bool = False) -> None:
        """A server is deleted; Nova goes away or comes back, or shows all servers to everybody."""
        servers = self._world.nova.servers
        self._world.nova.away = away
        self._world.nova.open = open
        if delete is not None:
            del servers[delete]

    def _quota(self, server: int | None = None, **limits: int) -> None:
        """What Keystone has limits of, and what ``[api] max_devices_per_server`` is."""
        self._world.keystone.quota = limits
        self._world.conf.set_override("max_devices_per_server", server, group="api")

    def _leases(self, **longest: int) -> None:
        """What ``[lease] longest`` is."""
        self._world.conf.set_override("longest", longest, group="lease")

    def _serve(self) -> None:
        """The conductor looks for servers in line."""
        world = self._world
        Serving(
            world.db,
            world.nudger,
            world.keystone.limits,
            world.conf.api.max_devices_per_server,
            lambda: Window.now(world.conf),
            lambda server_id, host: True,
        ).serve()

    def _relays(self, *, hosts: list[str]) -> None:
        """Which hosts take part in the network transport, from their next sync on."""
        self._world.relays = set(hosts)

    def _move(self, server: str, host: str) -> None:
        """Nova moves a server; the agents tell at their next sync."""
        servers = self._world.nova.servers
        moved = nova.host_id(servers[server].project_id, host)
        servers[server] = dataclasses.replace(servers[server], host_id=moved)

    def _follow(self) -> None:
        """The conductor looks for servers whose devices have to follow them."""
        world = self._world
        Carrying(
            world.db, world.nudger, lambda: Window.now(world.conf), lambda server_id, host: True
        ).follow()

    def _nudge(self, back: int = 1) -> Any:
        """The last thing that an agent was told, or one before it."""
        host, claim = self._world.nudger.nudges[-back]
        return {"host": host, "claim": dataclasses.asdict(claim)}
