# SPDX-License-Identifier: Apache-2.0
"""The usage of devices by projects and servers, and its limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy import orm

from compute_shim.db import models, states
from compute_shim.db.api import Database

#: The resources of Keystone's unified limits: all devices, and those of a kind.
DEVICES = "usb_devices"
OF_KIND = f"{DEVICES}:"
#: Of a server, not of Keystone.
PORTS = "ports"

_D, _I, _P = models.Device, models.Instance, models.Project


class OverLimit(Exception):
    """A project or server would exceed its limit.

    :ivar resource: of which they have too many; None: a server has too many devices; `PORTS`: more than fit.
    :ivar limit: so many they may have.
    :ivar used: so many they have.
    """

    def __init__(self, resource: str | None, limit: int, used: int) -> None:
        super().__init__(f"{resource}: {used} of {limit}")
        self.resource = resource
        self.limit = limit
        self.used = used


@dataclasses.dataclass(frozen=True)
class Caps:
    """The limits of claims.

    :param project: resource -> so many by a project; negative: no limit.
    :param server: so many by a server; None: no limit.
    """

    project: Mapping[str, int] = dataclasses.field(default_factory=dict)
    server: int | None = None

    def __bool__(self) -> bool:
        return self.server is not None or any(limit >= 0 for limit in self.project.values())


def lock(session: orm.Session, project_id: str) -> None:
    """Serialize the claims of a project, so that each counts those before it.

    :raises oslo_db.exception.DBDuplicateEntry: somebody else does it for the first time; try again
    """
    taken = sa.update(_P).where(_P.project_id == project_id).values(claims=_P.claims + 1)
    if session.connection().execute(taken).rowcount == 0:
        session.execute(sa.insert(_P).values(project_id=project_id, claims=1))


def check(session: orm.Session, caps: Caps, row: models.Device) -> None:
    """Check that a claim that was just written is within the limits.

    The project is locked if it has any. Claims for one server at once may be too many for its ports: then the
    agent says so.

    :raises OverLimit: it is not
    """
    for over in _over(session, caps, row, row.instance_uuid, row.project_id, more=0).values():
        raise over


def would_exceed(
    db: Database, caps: Caps, row: models.Device, server_id: str, project_id: str
) -> dict[str, OverLimit]:
    """Which limits a claim on a device would break: ``usb_port``, ``server_limit`` and ``quota``, or none."""
    more = 0 if row.instance_uuid == server_id else 1
    with db.reader() as session:
        return _over(session, caps, row, server_id, project_id, more)


def ports(db: Database, server_id: str) -> tuple[int, int] | None:
    """How many USB ports a server has, and how many of them are taken; None: its host does not tell.

    While a server moves two hosts have a domain of it: the one counts in which it runs.
    """
    domains = sa.select(_I).where(_I.instance_uuid == server_id).order_by(_I.running.desc(), _I.host).limit(1)
    with db.reader() as session:
        domain = session.scalar(domains)
        if domain is None or domain.usb_ports is None:
            return None
        return domain.usb_ports, _count(session, *_on_its_ports(server_id, domain.host))


def _on_its_ports(server_id: str | None, host: str) -> list[sa.ColumnElement[bool]]:
    """What is true of the devices that take the ports of a server on a host."""
    return [_D.instance_uuid == server_id, _D.host == host]


def _over(
    session: orm.Session,
    caps: Caps,
    row: models.Device,
    server_id: str | None,
    project_id: str | None,
    more: int,
) -> dict[str, OverLimit]:
    """Which limits are broken.

    :param row: the device, which decides of which kind, and in which host's domain the ports are.
    :param more: so many claims are still to come.
    """
    here = (_I.instance_uuid == server_id, _I.host == row.host)
    most = session.scalar(sa.select(_I.usb_ports).where(*here))
    own = _D.project_id == project_id
    of_kind = f"{OF_KIND}{row.kind}"
    limits = [
        ("usb_port", PORTS, most, _on_its_ports(server_id, row.host)),
        ("server_limit", None, caps.server, [_D.instance_uuid == server_id]),
        ("quota", DEVICES, caps.project.get(DEVICES), [own]),
        ("quota", of_kind, caps.project.get(of_kind), [own, _D.kind == row.kind]),
    ]
    found: dict[str, OverLimit] = {}
    for name, resource, limit, conditions in limits:
        if limit is None or limit < 0 or name in found:
            continue
        count = _count(session, *conditions) + more
        if count > limit:
            found[name] = OverLimit(resource, limit, count - 1)
    return found


def _count(session: orm.Session, *conditions: sa.ColumnElement[bool]) -> int:
    """How many devices are claimed; what is given back and not out of the server yet does not count."""
    statement = sa.select(sa.func.count()).select_from(_D).where(_D.state.in_(states.CLAIMED), *conditions)
    return session.scalar(statement) or 0
