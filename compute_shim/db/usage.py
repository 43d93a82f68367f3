# SPDX-License-Identifier: Apache-2.0
"""How many devices projects and servers have, and how many they may have."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy import orm

from compute_shim.db import models, states

#: The resources of Keystone's unified limits: all devices, and those of a kind.
DEVICES = "usb_devices"
OF_KIND = f"{DEVICES}:"

_D, _P = models.Device, models.Project


class OverLimit(Exception):
    """Somebody would have more devices than they may.

    :ivar resource: of which they have too many; None: a server has too many devices.
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
    """How many devices may be claimed.

    :param project: resource -> so many by a project; negative: no limit.
    :param server: so many by a server; None: no limit.
    """

    project: Mapping[str, int] = dataclasses.field(default_factory=dict)
    server: int | None = None

    def __bool__(self) -> bool:
        return self.server is not None or any(limit >= 0 for limit in self.project.values())


def lock(session: orm.Session, project_id: str) -> None:
    """Let the claims of a project come one after the other, so that each counts those before it.

    :raises oslo_db.exception.DBDuplicateEntry: somebody else does it for the first time; try again
    """
    taken = sa.update(_P).where(_P.project_id == project_id).values(claims=_P.claims + 1)
    if session.connection().execute(taken).rowcount == 0:
        session.execute(sa.insert(_P).values(project_id=project_id, claims=1))


def check(session: orm.Session, caps: Caps, row: models.Device) -> None:
    """See whether a claim that was just written is within the limits; the project is locked.

    :raises OverLimit: it is not
    """
    if caps.server is not None:
        _compare(None, caps.server, _count(session, _D.instance_uuid == row.instance_uuid))
    own = _D.project_id == row.project_id
    if DEVICES in caps.project:
        _compare(DEVICES, caps.project[DEVICES], _count(session, own))
    of_kind = f"{OF_KIND}{row.kind}"
    if of_kind in caps.project:
        _compare(of_kind, caps.project[of_kind], _count(session, own, _D.kind == row.kind))


def _count(session: orm.Session, *conditions: sa.ColumnElement[bool]) -> int:
    """How many devices are claimed; what is given back and not out of the server yet does not count."""
    statement = sa.select(sa.func.count()).select_from(_D).where(_D.state.in_(states.CLAIMED), *conditions)
    return session.scalar(statement) or 0


def _compare(resource: str | None, limit: int, with_this: int) -> None:
    if 0 <= limit < with_this:
        raise OverLimit(resource, limit, with_this - 1)
