# SPDX-License-Identifier: Apache-2.0
"""Which devices the servers in line (`compute_shim.db.queue`) could have, as SQL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from compute_shim.db import channels, events, handover, models
from compute_shim.db.events import Actor
from compute_shim.objects import Reason, ReasonCode

_D, _I, _P, _Q = models.Device, models.Instance, models.DeviceProject, models.QueueEntry


def target(device_id: str | None, kind: str | None) -> str:
    """What a queue is for, as one text."""
    return f"kind:{kind}" if device_id is None else device_id


def fits(entry: Any = _Q, device: Any = _D) -> sa.ColumnElement[bool]:
    """An entry and a device that it could be served with, limits of the project aside.

    Its project may have the device, and its server is on a host where it can have it.

    :param entry: `models.QueueEntry`, or an alias of it; ``device`` likewise.
    """
    somewhere = sa.exists().where(reaches(entry, device))
    return sa.and_(may_have(entry, device), somewhere.correlate_except(_I))


def may_have(entry: Any = _Q, device: Any = _D) -> sa.ColumnElement[bool]:
    """An entry and a device that it is for and that its project may have, wherever they are; as `fits`."""
    return sa.and_(
        sa.or_(entry.device_id == device.id, entry.kind == device.kind),
        shared_with(entry.project_id, device),
        handover.open_to(entry.project_id, device),
    )


def reaches(entry: Any = _Q, device: Any = _D) -> sa.ColumnElement[bool]:
    """Rows of `models.Instance`: the hosts that the server of an entry is on and can have a device on."""
    return sa.and_(_I.instance_uuid == entry.server_id, channels.usable(entry.transport, device, _I.host))


def shared_with(project_id: Any, device: Any = _D) -> sa.ColumnElement[bool]:
    """Rows of devices that are shared with the project in a column.

    :param device: `models.Device`, or an alias of it.
    """
    by_name = sa.exists().where(_P.device_id == device.id, _P.project_id == project_id)
    return sa.or_(device.shared.is_(True), by_name.correlate_except(_P))


def wanted(besides: str | None = None) -> sa.ColumnElement[bool]:
    """Rows of devices for which a server is in line that could have them.

    :param besides: another one than this.
    """
    others = sa.true() if besides is None else _Q.server_id != besides
    return sa.exists().where(fits(), others)


def ahead() -> sa.ScalarSelect[int]:
    """How many entries of a line come before an entry, and could have a device that it waits for.

    Others in the same line are none of its business: what they wait for is not shared with its project, or is
    where its server cannot have it.
    """
    other, device = orm.aliased(_Q), orm.aliased(_D)
    before = sa.or_(other.round < _Q.round, sa.and_(other.round == _Q.round, other.id < _Q.id))
    common = sa.exists().where(fits(_Q, device), fits(other, device)).correlate(_Q, other)
    count = sa.select(sa.func.count()).select_from(other).where(other.target == _Q.target, before, common)
    return count.correlate(_Q).scalar_subquery()


def end(
    session: orm.Session,
    which: Iterable[sa.ColumnElement[bool]],
    actor: Actor | None = None,
    note: Reason | None = None,
) -> int:
    """Delete entries that were not served, and record that; returns their number.

    :param note: why, if nobody requested it.
    """
    ended = session.scalars(sa.select(_Q).where(*which).with_for_update()).all()
    for entry in ended:
        events.add_of_line(session, entry, ReasonCode.QUEUE_LEFT, actor, note)
        session.delete(entry)
    return len(ended)


def leave(session: orm.Session, server_id: str, device_id: str, kind: str | None) -> None:
    """Delete the entries of a server that got what it was queued for.

    :param kind: as one of which it got the device.
    """
    targets = [device_id, *([] if kind is None else [target(None, kind)])]
    session.execute(sa.delete(_Q).where(_Q.server_id == server_id, _Q.target.in_(targets)))
