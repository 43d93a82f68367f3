# SPDX-License-Identifier: Apache-2.0
"""Our agent in a lab host of a stack."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from typing import Any, Protocol

from lab import agent_forks
from lab.cloud.site import ETC, GATEWAY, VENV, Site, write_private
from lab.host import Host, HostError, command
from lab.paths import ROOT

#: What a lab host that agents are started in has to run from its start on (`lab.host.Host.start`).
BACKGROUND = {
    "agent-forks": shlex.join(
        ["env", f"PYTHONPATH={ROOT}", str(VENV / "bin/python"), "-m", agent_forks.__name__]
    )
}

# Below the default: tests wait for it. Each sync takes an emulated processor some 0.2 s.
_QUICK_SYNC_SECONDS = 2
# A host that has just been started imports the agent first.
_LAUNCH_SECONDS = 300
_START_SECONDS = 300
_PID = "/run/lab/usb-shim-agent.pid"
_LOG = str(agent_forks.LOG)
# What it logs when the conductor has its devices (compute_shim/agent/reporter.py).
_TOLD = "The conductor knows the devices of this host"


class Service(Protocol):
    """The service that an agent belongs to (`lab.stack.Stack`)."""

    @property
    def quick(self) -> bool:
        """Whether agents report themselves much more often than by default."""

    @property
    def site(self) -> Site:
        """Where the message bus is."""

    def hosts(self) -> dict[str, dict[str, Any]]:
        """The hosts with an agent, by name."""

    def wait(self, true: Callable[[], bool], complaint: str) -> None:
        """Wait until it is so."""


class Agent:
    """The agent of one host.

    :ivar config: its configuration file.
    :ivar more: what else that is to have.
    """

    def __init__(self, service: Service, host: Host) -> None:
        self._service = service
        self.host = host
        self.config = ETC / f"agent-{host.name}.conf"
        self.more = ""

    def configure(self, device_spec: str | None, driver: str = "qemu", *, shield: bool = False) -> None:
        """Write the agent's configuration; one that runs does not read it.

        :param device_spec: None for no rule at all.
        :param driver: of libvirt, qemu or lxc.
        :param shield: whether the host's drivers are kept from what is offered. Most tests use the sticks on
            the host as well.
        """
        rules = f"[usb]\nshield = {shield}\n"
        rules += "" if device_spec is None else f"device_spec = {device_spec}\n"
        pace = f"[agent]\nsync_interval = {_QUICK_SYNC_SECONDS}\n" if self._service.quick else ""
        transport_url = self._service.site.transport_url(GATEWAY)
        write_private(
            self.config,
            f"[DEFAULT]\nhost = {self.host.name}\ntransport_url = {transport_url}\n"
            f"[libvirt]\nconnection_uri = {driver}:///system\n{pace}{rules}{self.more}",
        )

    def start(self) -> None:
        """Start it, and wait until it has reported its devices; it counts as up before that.

        :raises HostError: it does not report them, with the end of its log.
        """
        lines = int(self.host.run(f"touch {_LOG}; wc -l < {_LOG}").stdout)
        self.launch()
        told = (
            f"exec {{log}}< <(exec tail -n +{lines + 1} -f {_LOG});"
            f" grep -qm 1 {shlex.quote(_TOLD)} <&$log; kill $!"
        )
        try:
            self.host.run(told, timeout=_START_SECONDS)
        except subprocess.TimeoutExpired:
            raise HostError(
                f"the agent of {self.host.name} does not tell its devices:\n{self.log()}"
            ) from None

    def launch(self) -> None:
        """Start it, and do not wait for it."""
        asked, started = agent_forks.ASKED, agent_forks.STARTED
        self.host.run(
            f"{command.until(f'[ -p {asked} ]')};"
            f" echo {shlex.quote(str(self.config))} > {asked}; cat {started} > {_PID}",
            timeout=_LAUNCH_SECONDS,
        )

    def kill(self) -> None:
        """SIGKILL, without warning."""
        self.host.run(f"kill -KILL $(cat {_PID})")

    def stop(self) -> None:
        """SIGTERM, and wait until it has ended."""
        ended = command.until("[ ! -e /proc/$pid ]")
        self.host.run(f"pid=$(cat {_PID}); kill $pid; {ended}")

    def reload(self) -> None:
        """Let it reload its configuration."""
        self.host.run(f"kill -HUP $(cat {_PID})")

    def manage(self, *command: str) -> str:
        """Run usb-shim-manage with the agent's configuration; what it prints."""
        program = [str(VENV / "bin/usb-shim-manage"), "--config-file", str(self.config), *command]
        return self.host.run(program).stdout

    def pid(self) -> int:
        """Its process id in the host."""
        return int(self.host.run(["cat", _PID]).stdout)

    def log(self) -> str:
        """The end of its log."""
        return self.host.run(["tail", "-n", "100", _LOG]).stdout

    def wait_down(self) -> None:
        """Wait until the service considers it down."""
        self._service.wait(
            lambda: self._service.hosts()[self.host.name]["state"] == "down",
            f"the agent of {self.host.name} is gone, and still counts",
        )
