# SPDX-License-Identifier: Apache-2.0
"""A MariaDB and a RabbitMQ of one's own, and programs of ours that use them, without a lab host.

Import it before anything else of the lab: it gives the lab a new directory, so that several runs, and a cloud
beside them, do not meet. RabbitMQ gets a free block of ports on 127.0.0.1, MariaDB a socket.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_DIRECTORY = tempfile.TemporaryDirectory(prefix="usb-servers-")  # it goes when this process ends
os.environ["LAB_RUN"] = _DIRECTORY.name

from lab.cloud import config, services, site  # noqa: E402
from lab.cloud.process import Command, Processes  # noqa: E402
from lab.cloud.site import LOG, PIDS, STATE, VENV, write_private  # noqa: E402
from lab.paths import ROOT, RUN  # noqa: E402
from tests.functional.databases import MariaDB  # noqa: E402


class PrivateServers:
    """MariaDB, running; RabbitMQ and programs of ours as soon as they are asked for.

    :ivar options: what is in the configuration of all programs with a database.
    :ivar site: the ports and passwords.
    :ivar processes: RabbitMQ and the programs of ours.
    """

    def __init__(self) -> None:
        LOG.mkdir()
        self._mariadb = MariaDB()
        self.options = ""
        self.site = site.create()
        self.processes = Processes(PIDS, LOG)

    def start(self) -> None:
        """Start MariaDB."""
        self._mariadb.start()

    def remove(self) -> None:
        """Stop everything."""
        self.stop_processes()
        self._mariadb.remove()

    def stop_processes(self) -> None:
        """Stop RabbitMQ, whose queues are forgotten, and the programs of ours."""
        self.processes.stop(*self.processes.names())
        shutil.rmtree(STATE / "rabbitmq", ignore_errors=True)

    def create_database(self) -> str:
        """The URL of a new database."""
        return self._mariadb.create_database()

    def start_rabbitmq(self) -> None:
        """Start RabbitMQ, and wait until it answers."""
        config.write_all(self.site)
        services.start_rabbitmq(self.site, self.processes)

    def configure(self, name: str, database_url: str | None = None) -> Path:
        """Write the configuration file of a program of ours.

        :param name: its host name on the message bus, and that of the file.
        :param database_url: None for a program that needs no database.
        """
        file = RUN / f"{name}.conf"
        text = f"[DEFAULT]\nhost = {name}\ntransport_url = {self.site.transport_url()}\n"
        if database_url:
            text += f"[database]\nconnection = {database_url}\n{self.options}"
            # What stands in for Keystone lets everybody in.
            text += "[keystone_authtoken]\nauth_type = none\n"
        write_private(file, text)
        return file

    def create_schema(self, database_url: str) -> None:
        """Bring a database up to date, with the command of an operator."""
        file = self.configure("manage", database_url)
        manage: list[str | Path] = [VENV / "bin/python", "-m", "compute_shim.cmd.manage"]
        self.processes.run("manage", [*manage, "--config-file", file, "db", "sync"])

    def start_conductor(self, name: str, database_url: str) -> Path:
        """Start a conductor; it may be still on its way to the message bus.

        :param name: which it has on the message bus.
        :returns: its configuration file
        """
        file = self.configure(name, database_url)
        self.start_python(name, ["-m", "compute_shim.cmd.conductor", "--config-file", file])
        return file

    def start_python(self, name: str, arguments: Command, **env: str) -> None:
        """Start a program of this checkout.

        :param env: added to this process's environment.
        """
        self.processes.start(name, [VENV / "bin/python", *arguments], {"PYTHONPATH": str(ROOT), **env})

    def log(self, name: str) -> Path:
        """What a program of ours says."""
        return self.processes.log(name)
