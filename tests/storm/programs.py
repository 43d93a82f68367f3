# SPDX-License-Identifier: Apache-2.0
"""The APIs and conductors of the storm, and who kills them."""

from __future__ import annotations

import logging
import random
import threading
from pathlib import Path

from lab.cloud.process import http_answers, wait_until
from tests.functional.private_servers import PrivateServers
from tests.storm.asking import Tally

LOG = logging.getLogger(__name__)

CONDUCTORS = ("conductor1", "conductor2", "conductor3")
# Ports of services that only a cloud has. A port that Linux also gives to outgoing connections could be a
# client's by the time an API is started again.
_APIS = {"api1": "keystone", "api2": "nova-api"}
APIS = tuple(_APIS)

# Seconds: between two deeds of the killer, and beyond what an API needs to start on a busy machine.
_PAUSE = (1.0, 4.0)
_START_SECONDS = 120.0
# Of the times that something is ended, so many are without warning.
_WITHOUT_WARNING = 0.75


class Programs:
    """Two APIs and three conductors on one database.

    :param servers_file: says which servers there are (`lab.stack_nova`).
    :ivar down: those that do not run.
    """

    def __init__(self, servers: PrivateServers, database_url: str, servers_file: Path) -> None:
        self._servers = servers
        self._database_url = database_url
        self._servers_file = servers_file
        self.down = [*CONDUCTORS, *APIS]

    @property
    def urls(self) -> dict[str, str]:
        """Where the APIs answer, by their names."""
        return {name: self._servers.site.url(port) for name, port in _APIS.items()}

    def start(self, name: str) -> None:
        """Start one of them; an API answers then, a conductor may be on its way to the message bus."""
        if name in APIS:
            self._start_api(name)
        else:
            self._servers.start_conductor(name, self._database_url)
        self.down.remove(name)

    def start_all(self) -> None:
        """Start what does not run."""
        for name in tuple(self.down):
            self.start(name)

    def end(self, name: str, *, warn: bool) -> None:
        """Stop one of them, or kill it without warning."""
        processes = self._servers.processes
        (processes.stop if warn else processes.kill)(name)
        self.down.append(name)

    def _start_api(self, name: str) -> None:
        servers, url = self._servers, self.urls[name]
        file = servers.configure(name, self._database_url)
        arguments: list[str | Path] = ["-m", "lab.stack_api", url.rpartition(":")[2], self._servers_file]
        servers.start_python(name, arguments, OS_USB_SHIM_CONFIG_FILES=str(file))
        wait_until(
            lambda: http_answers(url),
            f"{name} does not answer",
            _START_SECONDS,
            lambda: servers.processes.pid(name) is not None,
            servers.log(name),
        )


def kill_at_random(programs: Programs, tally: Tally, dice: random.Random, over: threading.Event) -> None:
    """End and start programs until it is over; one of each kind always runs.

    :raises lab.cloud.timeline.LabError: an API does not start
    """
    while not over.wait(dice.uniform(*_PAUSE)):
        up = [[name for name in kind if name not in programs.down] for kind in (APIS, CONDUCTORS)]
        mortal = [name for kind in up if len(kind) > 1 for name in kind]
        name = dice.choice(mortal + programs.down)
        if name in programs.down:
            programs.start(name)
            LOG.info("Started %s", name)
            continue
        warn = dice.random() >= _WITHOUT_WARNING
        signal = "SIGTERM" if warn else "SIGKILL"
        LOG.info("%s for %s", signal, name)
        programs.end(name, warn=warn)
        tally.count("API" if name in APIS else "conductor", signal)
