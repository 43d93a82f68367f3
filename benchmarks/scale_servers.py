# SPDX-License-Identifier: Apache-2.0
"""The servers that `benchmarks/scale` runs against: a MariaDB and a RabbitMQ of its own.

Import it before anything else of the lab: it gives the lab a new directory, so that several runs, and a cloud
beside them, do not meet. RabbitMQ gets a free block of ports on 127.0.0.1, MariaDB a socket.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_DIRECTORY = tempfile.TemporaryDirectory(prefix="usb-scale-")  # it goes when this process ends
os.environ["LAB_RUN"] = _DIRECTORY.name

import sqlalchemy as sa  # noqa: E402

from lab.cloud import config, services, site  # noqa: E402
from lab.cloud.process import Processes  # noqa: E402
from lab.cloud.site import LOG, PIDS, VENV, write_private  # noqa: E402
from lab.paths import ROOT, RUN  # noqa: E402
from tests.functional.databases import MariaDB  # noqa: E402

# The largest database fits in: what is measured is the work, not this machine's disk.
_BUFFER_POOL_BYTES = 1 << 30


class Servers:
    """MariaDB, running; RabbitMQ and programs of ours as soon as they are asked for."""

    def __init__(self) -> None:
        LOG.mkdir()
        self._mariadb = MariaDB()
        self._site = site.create()
        self._processes = Processes(PIDS, LOG)

    def start(self) -> None:
        """Start MariaDB."""
        self._mariadb.start()
        self._engine = sa.create_engine(self._mariadb.create_database(), isolation_level="AUTOCOMMIT")
        with self._engine.connect() as connection:
            connection.execute(sa.text(f"SET GLOBAL innodb_buffer_pool_size = {_BUFFER_POOL_BYTES}"))

    def remove(self) -> None:
        """Stop everything."""
        self.stop_processes()
        self._mariadb.remove()

    def stop_processes(self) -> None:
        """Stop RabbitMQ and the conductors."""
        self._processes.stop(*self._processes.names())

    def create_database(self) -> str:
        """The URL of a new database."""
        return self._mariadb.create_database()

    def deadlocks(self) -> int:
        """How many deadlocks MariaDB has resolved since it was started."""
        with self._engine.connect() as connection:
            _, count = connection.execute(sa.text("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")).one()
        return int(count)

    def start_rabbitmq(self) -> None:
        """Start RabbitMQ, and wait until it answers."""
        config.write_all(self._site)
        services.start_rabbitmq(self._site, self._processes)

    def start_conductor(self, name: str, database_url: str) -> Path:
        """Start a conductor; it may be still on its way to the message bus.

        :param name: which it has on the message bus.
        :returns: its configuration file
        """
        file = RUN / f"{name}.conf"
        write_private(
            file,
            f"[DEFAULT]\nhost = {name}\ntransport_url = {self._site.transport_url()}\n"
            f"[database]\nconnection = {database_url}\n",
        )
        self._processes.start(
            name,
            [VENV / "bin/python", "-m", "compute_shim.cmd.conductor", "--config-file", file],
            {"PYTHONPATH": str(ROOT)},
        )
        return file

    def log(self, name: str) -> Path:
        """What a conductor says."""
        return self._processes.log(name)
