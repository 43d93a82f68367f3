# SPDX-License-Identifier: Apache-2.0
"""Our service around one lab host, without a cloud: for tests and benchmarks.

RabbitMQ, the conductor and the agent are real, and so are libvirt and USB in the lab host; the database is
SQLite. Keystone and Nova are left out (`lab.stack_api`). Give it a directory of its own in LAB_RUN, so that
it can run beside a cloud.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

from keystoneauth1 import noauth, session

from lab.cloud import config, databases, services, site
from lab.cloud.process import Processes, http_answers, wait_until
from lab.cloud.site import ETC, LOG, PIDS, STATE, VENV, write_private
from lab.guest import GuestImage
from lab.host import Host, domains
from lab.host.usb import EVERYTHING
from lab.paths import ROOT, RUN
from lab.stack_agent import BACKGROUND, Agent
from lab.stack_nova import HOST, OTHER_HOSTS
from novaclient_usb.client import Client, from_session

# Far below the default: tests wait for it.
_QUICK_DOWN_SECONDS = 8
_QUICK_DELETED_SECONDS = 2
_CONDUCTOR, _API = "usb-shim-conductor", "usb-shim-api"
_SERVERS = RUN / "servers.json"
_DATABASE = STATE / "usb-shim.sqlite"
# The service writes to it all the time, for moments.
_LOCK_SECONDS = 30.0
_START_SECONDS = 300


class Stack:
    """The service and its host, and other hosts on request.

    :param quick: the agent sends heartbeats, and is considered down, much sooner than by default.
    """

    def __init__(self, *, quick: bool = False) -> None:
        self.quick = quick
        self.host = Host(HOST)
        self.agent = Agent(self, self.host)
        self.processes = Processes(PIDS, LOG)
        self.site = site.create()

    def up(self, device_spec: str | None = EVERYTHING, crowd: int = 0) -> None:
        """Start everything but the agent, and wait until it is ready.

        :param device_spec: the rules in the agent's configuration; None for none.
        :param crowd: how many USB devices more than usual the host has.
        """
        self.down()
        LOG.mkdir(parents=True)
        _SERVERS.write_text("{}")
        self.host.start(crowd=crowd, peers=OTHER_HOSTS, background=BACKGROUND)
        config.write_all(self.site)
        STATE.mkdir(parents=True)
        self.agent.configure(device_spec)
        self.start_message_bus()
        self.use_database(f"sqlite:///{_DATABASE}")
        self.host.wait_ready()

    def use_database(self, url: str) -> None:
        """Let the conductor and the API use a database, which may be empty."""
        self.processes.stop(_CONDUCTOR, _API)
        self._configure_service(url)
        subprocess.run(
            [VENV / "bin/usb-shim-manage", "--config-file", str(config.USB_SHIM), "db", "sync"], check=True
        )
        self.start_conductor()
        self.start_api()

    @contextlib.contextmanager
    def mariadb(self) -> Iterator[None]:
        """The service uses MariaDB meanwhile; it starts with an empty database before and after."""
        databases.start(self.site, self.processes)
        self.use_database(self.site.database_url("usb_shim"))
        try:
            yield
        finally:
            self.use_database(f"sqlite:///{_DATABASE}")
            self.stop_mariadb()

    def stop_mariadb(self) -> None:
        """End MariaDB."""
        self.processes.stop("mariadb")

    def start_mariadb(self) -> None:
        """Start MariaDB again, with what it had."""
        databases.start_again(self.site, self.processes)

    def reboot_host(self) -> None:
        """Power the host off and start it again with a fresh file system, without domains or agent."""
        self.host.stop()
        self.host.start(peers=OTHER_HOSTS, background=BACKGROUND)
        self.host.wait_ready()

    def boot_other_host(self, name: str) -> Agent:
        """Start one of `lab.stack_nova.OTHER_HOSTS`, to which servers can migrate, and return at once.

        :returns: its agent, which is neither configured nor started.
        """
        host = Host(name)
        peers = [other for other in (HOST, *OTHER_HOSTS) if other != name]
        host.start(peers=peers, background=BACKGROUND)
        return Agent(self, host)

    def down(self) -> None:
        """Stop everything."""
        self.host.stop()
        for name in OTHER_HOSTS:
            Host(name).stop()
        self.processes.stop(*self.processes.names())
        for directory in (STATE, ETC, LOG):
            shutil.rmtree(directory, ignore_errors=True)

    def client(self, project_id: str, *roles: str) -> Client:
        """The client of a project user."""
        headers = {
            "X-Identity-Status": "Confirmed",
            "X-User-Id": "lab",
            "X-Project-Id": project_id,
            "X-Roles": ",".join(roles or ("member", "reader")),
        }
        auth = noauth.NoAuth(endpoint=self.site.url(_API))
        return from_session(session.Session(auth=auth, additional_headers=headers))

    def admin(self) -> Client:
        """The client of an administrator."""
        return self.client("admin", "admin", "member", "reader")

    def hosts(self) -> dict[str, dict[str, Any]]:
        """The hosts with an agent, by name."""
        return {host["host"]: host for host in self.admin().hosts.list()}

    def create_server(
        self, name: str, project_id: str, image: GuestImage | None = None, host: Host | None = None
    ) -> domains.Server:
        """A running domain, and the server that it is for.

        :param image: what it boots; without one it halts at once.
        :param host: where, if not on the first host.
        """
        host = host or self.host
        server = domains.Server(name, project_id=project_id)
        xml = domains.halted(server) if image is None else domains.guest(server, image)
        domains.define(host, xml)
        domains.virsh(host, "start", name)
        self.record_server(server, host.name)
        return server

    def record_server(self, server: domains.Server, host: str) -> None:
        """A server is on a host now, as Nova would have it."""
        known = json.loads(_SERVERS.read_text())
        known[server.uuid] = {"project_id": server.project_id, "host": host}
        _write_servers(known)

    def forget_server(self, server: domains.Server) -> None:
        """A server is deleted, as Nova would have it."""
        known = json.loads(_SERVERS.read_text())
        del known[server.uuid]
        _write_servers(known)

    def forget_history(self) -> None:
        """Delete all events: of changes that nobody requested only so many are recorded in an hour."""
        with contextlib.closing(sqlite3.connect(_DATABASE, timeout=_LOCK_SECONDS)) as database, database:
            database.execute("DELETE FROM usb_device_events")

    def start_message_bus(self) -> None:
        """Start RabbitMQ and wait until it answers."""
        services.start_rabbitmq(self.site, self.processes)

    def stop_message_bus(self) -> None:
        """End RabbitMQ; what it held is lost."""
        self.processes.stop("rabbitmq", "epmd")
        shutil.rmtree(STATE / "rabbitmq")

    def kill_message_bus(self) -> None:
        """SIGKILL for RabbitMQ; what it held is lost."""
        self.processes.kill("rabbitmq", "epmd")
        shutil.rmtree(STATE / "rabbitmq")

    def start_conductor(self) -> None:
        """Start the conductor; it may be still on its way to the message bus."""
        self.processes.start(
            _CONDUCTOR,
            [VENV / "bin/python", "-m", "lab.stack_conductor", _SERVERS, "--config-file", config.USB_SHIM],
            {"PYTHONPATH": str(ROOT)},
        )

    def stop_conductor(self) -> None:
        """End the conductor."""
        self.processes.stop(_CONDUCTOR)

    def kill_conductor(self) -> None:
        """SIGKILL for the conductor."""
        self.processes.kill(_CONDUCTOR)

    def kill_api(self) -> None:
        """SIGKILL for the API."""
        self.processes.kill(_API)

    def wait(self, true: Callable[[], bool], complaint: str) -> None:
        """Wait until it is so; the conductor's log explains why it is not."""
        log = self.processes.log(_CONDUCTOR)
        wait_until(true, complaint, _START_SECONDS, self.host.running, log)

    def start_api(self) -> None:
        """Start the API and wait until it answers."""
        port = self.site.ports[_API]
        self.processes.start(
            _API,
            [VENV / "bin/python", "-m", "lab.stack_api", str(port), _SERVERS],
            {"OS_USB_SHIM_CONFIG_FILES": str(config.USB_SHIM), "PYTHONPATH": str(ROOT)},
        )
        wait_until(
            lambda: http_answers(self.site.url(_API, "/")),
            "the API does not answer",
            _START_SECONDS,
            lambda: self.processes.pid(_API) is not None,
            self.processes.log(_API),
        )

    def _configure_service(self, database_url: str) -> None:
        pace = (
            f"[conductor]\nhost_down_time = {_QUICK_DOWN_SECONDS}\n"
            f"deleted_server_interval = {_QUICK_DELETED_SECONDS}\n"
            if self.quick
            else ""
        )
        write_private(
            config.USB_SHIM,
            f"[DEFAULT]\ntransport_url = {self.site.transport_url()}\n"
            f"[database]\nconnection = {database_url}\n[keystone_authtoken]\nauth_type = none\n{pace}",
        )


def _write_servers(known: dict[str, dict[str, str]]) -> None:
    """Replace the file atomically: it may be read at any time."""
    whole = _SERVERS.with_suffix(".new")
    whole.write_text(json.dumps(known))
    whole.replace(_SERVERS)
