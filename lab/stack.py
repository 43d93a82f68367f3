# SPDX-License-Identifier: Apache-2.0
"""Our service around one lab host, without a cloud: for tests and benchmarks.

RabbitMQ, the conductor and the agent are real, and so are libvirt and USB in the lab host; the database is
SQLite. Keystone and Nova are left out (`lab.stack_api`). Give it a directory of its own in LAB_RUN, so that
it can run beside a cloud.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable

from keystoneauth1 import noauth, session

from lab.cloud import config, services, site
from lab.cloud.process import Processes, http_answers, wait_until
from lab.cloud.site import ETC, GATEWAY, LOG, PIDS, STATE, VENV, write_private
from lab.guest import GuestImage
from lab.host import Host, domains
from lab.paths import ROOT, RUN
from novaclient_usb.client import Client, from_session

HOST = "labhost1"
# Far below the defaults: tests wait for both.
_QUICK_SYNC_SECONDS = 2
_QUICK_DOWN_SECONDS = 8
_CONDUCTOR, _API = "usb-shim-conductor", "usb-shim-api"
_AGENT_PID = "/run/lab/usb-shim-agent.pid"
_SERVERS = RUN / "servers.json"
_AGENT_CONFIG = ETC / "agent.conf"
_START_SECONDS = 120


class Stack:
    """The service and its host.

    :param quick: the agent speaks up, and is taken for dead, much sooner than by default.
    """

    def __init__(self, *, quick: bool = False) -> None:
        self._quick = quick
        self.host = Host(HOST)
        self.processes = Processes(PIDS, LOG)
        self.site = site.create()

    def up(self, device_spec: str | None = "{}", crowd: int = 0) -> None:
        """Start all but the agent, and wait until it can be used.

        :param device_spec: what the agent's configuration says; None for nothing.
        :param crowd: how many USB devices more than usual the host has.
        """
        self.down()
        LOG.mkdir(parents=True)
        _SERVERS.write_text("{}")
        self.host.start(crowd=crowd)
        config.write_all(self.site)
        self._configure_service()
        self.configure_agent(device_spec)
        self.start_message_bus()
        subprocess.run(
            [VENV / "bin/usb-shim-manage", "--config-file", str(config.USB_SHIM), "db", "sync"], check=True
        )
        self.start_conductor()
        self._start_api()
        self.host.wait_ready()

    def down(self) -> None:
        """Stop all of it."""
        self.host.stop()
        self.processes.stop(*self.processes.names())
        for directory in (STATE, ETC, LOG):
            shutil.rmtree(directory, ignore_errors=True)

    def client(self, project_id: str, *roles: str) -> Client:
        """The service as a user of a project meets it."""
        headers = {
            "X-Identity-Status": "Confirmed",
            "X-User-Id": "lab",
            "X-Project-Id": project_id,
            "X-Roles": ",".join(roles or ("member", "reader")),
        }
        auth = noauth.NoAuth(endpoint=self.site.url(_API))
        return from_session(session.Session(auth=auth, additional_headers=headers))

    def create_server(self, name: str, project_id: str, image: GuestImage | None = None) -> domains.Server:
        """A running domain, and the server that it is for.

        :param image: what it boots; without one it sits in its firmware, which is there at once.
        """
        server = domains.Server(name, project_id=project_id)
        xml = domains.bare(server) if image is None else domains.guest(server, image)
        domains.define(self.host, xml)
        domains.virsh(self.host, "start", name)
        known = json.loads(_SERVERS.read_text())
        known[server.uuid] = {"project_id": project_id, "host": HOST}
        _SERVERS.write_text(json.dumps(known))
        return server

    def start_message_bus(self) -> None:
        """Start RabbitMQ and wait until it answers."""
        services.start_rabbitmq(self.site, self.processes)

    def stop_message_bus(self) -> None:
        """End RabbitMQ; what it held is lost."""
        self.processes.stop("rabbitmq", "epmd")
        shutil.rmtree(STATE / "rabbitmq")

    def start_conductor(self) -> None:
        """Start the conductor; it may be still on its way to the message bus."""
        self.processes.start(_CONDUCTOR, [VENV / "bin" / _CONDUCTOR, "--config-file", config.USB_SHIM])

    def stop_conductor(self) -> None:
        """End the conductor."""
        self.processes.stop(_CONDUCTOR)

    def start_agent(self) -> None:
        """Start the agent in the host, and wait until it has reported itself."""
        before = self._last_seen()
        agent = shlex.join([str(VENV / "bin/usb-shim-agent"), "--config-file", str(_AGENT_CONFIG)])
        self.host.run(
            f"setsid {agent} >> /var/log/usb-shim-agent.log 2>&1 < /dev/null & echo $! > {_AGENT_PID}"
        )
        self._wait(lambda: self._last_seen() != before, "the agent does not report itself")

    def kill_agent(self) -> None:
        """SIGKILL, without warning."""
        self.host.run(f"kill -KILL $(cat {_AGENT_PID})")

    def stop_agent(self) -> None:
        """SIGTERM, and wait until it has ended."""
        self.host.run(f"pid=$(cat {_AGENT_PID}); kill $pid; while [ -e /proc/$pid ]; do sleep 0.1; done")

    def agent_pid(self) -> int:
        """Its process id in the host."""
        return int(self.host.run(["cat", _AGENT_PID]).stdout)

    def wait_agent_down(self) -> None:
        """Until the service has noticed that the host's agent is gone."""
        self._wait(
            lambda: self._admin().hosts.get(HOST)["state"] == "down", "the agent that is gone still counts"
        )

    def _last_seen(self) -> str | None:
        hosts = {host["host"]: host["last_seen"] for host in self._admin().hosts.list()}
        return hosts.get(HOST)

    def _admin(self) -> Client:
        return self.client("admin", "admin", "member", "reader")

    def _wait(self, true: Callable[[], bool], complaint: str) -> None:
        log = self.processes.log(_CONDUCTOR)
        wait_until(true, complaint, _START_SECONDS, self.host.running, log)

    def _start_api(self) -> None:
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

    def configure_agent(self, device_spec: str | None) -> None:
        """Write the agent's configuration; one that runs does not read it.

        :param device_spec: None for no rule at all.
        """
        rules = "" if device_spec is None else f"[usb]\ndevice_spec = {device_spec}\n"
        pace = f"[agent]\nsync_interval = {_QUICK_SYNC_SECONDS}\n" if self._quick else ""
        write_private(
            _AGENT_CONFIG,
            f"[DEFAULT]\nhost = {HOST}\ntransport_url = {self.site.transport_url(GATEWAY)}\n{pace}{rules}",
        )

    def _configure_service(self) -> None:
        STATE.mkdir(parents=True, exist_ok=True)
        pace = f"[conductor]\nhost_down_time = {_QUICK_DOWN_SECONDS}\n" if self._quick else ""
        write_private(
            config.USB_SHIM,
            f"[DEFAULT]\ntransport_url = {self.site.transport_url()}\n"
            f"[database]\nconnection = sqlite:///{STATE}/usb-shim.sqlite\n{pace}",
        )
