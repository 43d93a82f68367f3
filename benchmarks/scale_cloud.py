# SPDX-License-Identifier: Apache-2.0
"""A cloud with many hosts: the API and the conductor in this process, on a database filled beforehand."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import webob
from oslo_utils import timeutils

from compute_shim import nova, rpc
from compute_shim.db import models, sharing
from compute_shim.objects import Device, State
from tests.functional.world import DEMO_PROJECT, SERVERS, STICKS, World

DEVICES_PER_HOST = 20
#: So many of them are attached to the one server of the host; the others are free.
ATTACHED_PER_HOST = 2

#: Of a cloud in which devices are shared by name; 10,000 devices are shared 50,000 times.
PROJECTS = 1_000
PROJECTS_PER_DEVICE = 5

HYPERVISOR = "QEMU 7.2.22"
# Filling a database, and the benchmark after it, take longer than an agent may be silent by default.
_DOWN_SECONDS = 24 * 3600
_ROWS_PER_INSERT = 2000
# For ids that are made of names (RFC 9562, 5.5).
_SPACE = uuid.UUID("0c2a4a0e-6d1f-4d55-9d0e-0d7c5d6f3a10")


class Cloud(World):
    """Hosts with 20 devices and one server each, all agents alive.

    :param connection: URL of an empty database.
    :param directory: for the configuration file; it is made.
    """

    def __init__(self, connection: str, directory: Path, hosts: int) -> None:
        directory.mkdir()
        super().__init__(connection, directory)
        self.conf.set_override("host_down_time", _DOWN_SECONDS, group="conductor")
        self.hosts = [host_name(number) for number in range(hosts)]
        self.nova.servers |= {server_id(host): _server(host) for host in self.hosts}
        self._rows: dict[type[models.Base], list[dict[str, Any]]] = {}

    @property
    def size(self) -> int:
        """How many devices there are."""
        return len(self.hosts) * DEVICES_PER_HOST

    def host(self, turn: int) -> str:
        """One of the hosts; neighbours in the table do not follow each other."""
        return self.hosts[turn * 7919 % len(self.hosts)]  # a prime that divides no size

    def fill(self) -> None:
        """Write the rows that the agents of all hosts would have made."""
        now = timeutils.utcnow()
        for number, host in enumerate(self.hosts):
            self._add(models.Host, [_host_row(host, now)])
            devices = self._device_rows(host, now - datetime.timedelta(seconds=number))
            self._add(models.Device, devices)
            self._add(models.Event, map(_event_row, devices))
        self._write(least=1)
        tables = ", ".join(models.Base.metadata.tables)
        with self.db.engine().connect() as connection:
            # Else MariaDB looks for itself how a table has grown, at some moment of the benchmark.
            connection.execute(sa.text(f"ANALYZE TABLE {tables}"))

    def sync_unchanged(self, host: str) -> None:
        """The agent of a host tells what it told before."""
        self.conductor.sync({}, host, HYPERVISOR, rpc.CONDUCTOR_VERSION, _records_of(host))

    def take(self, host: str, number: int) -> None:
        """The server of a host gets a free device, and gives it back before the agent has done anything."""
        server, device = server_id(host), device_id(host, number)
        _good(self.attach("demo", server, device))
        _good(self.detach("demo", server, device))

    def free(self, host: str, number: int) -> None:
        """The agent says that the device is free again."""
        self.report(device_id(host, number), State.AVAILABLE)

    def get(self, token: str, path: str) -> Any:
        """What a client gets.

        :raises RuntimeError: it is an error
        """
        return _good(self.request(token, "GET", path)).json

    def _device_rows(self, host: str, seen: datetime.datetime) -> list[dict[str, Any]]:
        return [_device_row(host, number, seen) for number in range(DEVICES_PER_HOST)]

    def _add(self, model: type[models.Base], rows: Iterable[dict[str, Any]]) -> None:
        self._rows.setdefault(model, []).extend(rows)
        self._write(least=_ROWS_PER_INSERT)

    def _write(self, least: int) -> None:
        for model, rows in self._rows.items():
            if len(rows) >= least:
                with self.db.writer() as session:
                    session.connection().execute(sa.insert(model), rows)
                rows.clear()


class SharedCloud(Cloud):
    """Each device is shared with a few of many projects, and not attached to anything.

    :ivar demo_hosts: those whose last device is shared with the project of the token ``demo``.
    """

    def __init__(self, connection: str, directory: Path, hosts: int) -> None:
        super().__init__(connection, directory, hosts)
        others = [str(uuid.uuid5(_SPACE, f"project {number}")) for number in range(1, PROJECTS)]
        self._projects = [DEMO_PROJECT, *(name.replace("-", "") for name in others)]
        self._shared = 0
        self.demo_hosts: list[str] = []

    def _device_rows(self, host: str, seen: datetime.datetime) -> list[dict[str, Any]]:
        rows = []
        for row in super()._device_rows(host, seen):
            free = {"state": State.AVAILABLE, "instance_uuid": None, "project_id": None}
            rows.append(row | free | {"shared": False, "sharing_by": sharing.OPERATOR})
            self._share(row["id"])
        if self._shared % PROJECTS == 0:
            self.demo_hosts.append(host)
        return rows

    def _share(self, device_id: str) -> None:
        """With the next few projects: each gets as many devices. Project 0 comes last in its turn."""
        numbers = range(self._shared + 1, self._shared + 1 + PROJECTS_PER_DEVICE)
        self._add(
            models.DeviceProject,
            [{"device_id": device_id, "project_id": self._projects[n % PROJECTS]} for n in numbers],
        )
        self._shared += PROJECTS_PER_DEVICE


def host_name(number: int) -> str:
    """What a host is called."""
    return f"compute{number:05}"


def server_id(host: str) -> str:
    """The server that is on a host."""
    return str(uuid.uuid5(_SPACE, host))


def device_id(host: str, number: int) -> str:
    """One of the devices of a host."""
    return str(uuid.uuid5(_SPACE, f"{host}/{number}"))


def devices_of(host: str) -> list[Device]:
    """What is plugged into a host, as its agent tells it."""
    return [_device(host, number) for number in range(DEVICES_PER_HOST)]


@functools.cache
def _records_of(host: str) -> list[dict[str, Any]]:
    """As they arrive at the conductor; kept, because making them is no work of the conductor's."""
    return [dataclasses.asdict(device) for device in devices_of(host)]


def _device(host: str, number: int) -> Device:
    serial = f"{host}-{number:02}"
    return dataclasses.replace(
        STICKS["STICK1"],
        identity=f"0781:5567:{serial}",
        serial=serial,
        port=f"2-1.{number + 1}",
        device=number + 2,
    )


def _server(host: str) -> nova.Server:
    return dataclasses.replace(SERVERS["DEMO"], id=server_id(host), host_id=nova.host_id(DEMO_PROJECT, host))


def _host_row(host: str, now: datetime.datetime) -> dict[str, Any]:
    return {
        "host": host,
        "hypervisor": HYPERVISOR,
        "version": rpc.CONDUCTOR_VERSION,
        "last_seen": now,
        "problems": "",
    }


def _device_row(host: str, number: int, seen: datetime.datetime) -> dict[str, Any]:
    attached = number < ATTACHED_PER_HOST
    return dataclasses.asdict(_device(host, number)) | {
        "id": device_id(host, number),
        "host": host,
        "state": State.ATTACHED if attached else State.AVAILABLE,
        "instance_uuid": server_id(host) if attached else None,
        "project_id": DEMO_PROJECT if attached else None,
        "shared": True,
        "created_at": seen,
        "updated_at": seen,
    }


def _event_row(device: dict[str, Any]) -> dict[str, Any]:
    return {
        "device_id": device["id"],
        "created_at": device["created_at"],
        "cause": "plugged in",
        "state": State.AVAILABLE,
    }


def _good(response: webob.Response) -> webob.Response:
    if response.status_int >= 400:
        raise RuntimeError(f"{response.status}: {response.text}")
    return response
