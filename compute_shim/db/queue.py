# SPDX-License-Identifier: Apache-2.0
"""Queues of servers that wait for a device or for a kind.

A device that is free goes to the first server in line that is on its host, or can have it over the network
and asked for that, whose project may have it and is within its limits. Lines are fair over projects: each
waits with its first entry in the round that is being served, with its second in the next, and so on; within a
round, who came first is served first. So a project that comes later is not behind all that another one wants,
and who is in line is overtaken at most once by each other project for each of its own entries before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy import orm

from compute_shim.db import events, host_list, intent, lines, models, usage
from compute_shim.db.api import Database, retried
from compute_shim.db.events import Actor
from compute_shim.liveness import Window
from compute_shim.objects import Reason, ReasonCode

_D, _I, _Q = models.Device, models.Instance, models.QueueEntry

#: Maximum number of entries of one project in all queues.
LONGEST = 1000


class LineFull(Exception):
    """The project has the maximum number of entries."""


class _NotNow(Exception):
    """The device or the queue entry was taken in the meantime."""


@retried
def join(
    db: Database,
    server_id: str,
    project_id: str,
    actor: Actor,
    device_id: str | None = None,
    kind: str | None = None,
    lease: int | None = None,
    transport: str | None = None,
) -> models.QueueEntry:
    """Add a server to the queue for a device or a kind; an existing entry keeps its position.

    :param lease: seconds for which it then has the device.
    :param transport: how it may have it, one of `channels.TRANSPORTS`; None: on the device's host only.
    :raises LineFull: the project has too many entries
    """
    target = lines.target(device_id, kind)
    with db.writer() as session:
        # So that two entries of a project are not of the same round.
        usage.lock(session, project_id)
        known = sa.select(_Q).where(_Q.server_id == server_id, _Q.target == target)
        entry = session.scalars(known).one_or_none()
        if entry is not None:
            entry.lease, entry.transport = lease, transport
            return entry
        if _count(session, _Q.project_id == project_id) >= LONGEST:
            raise LineFull
        entry = models.QueueEntry(
            server_id=server_id,
            project_id=project_id,
            user_id=actor.user_id,
            request_id=actor.request_id,
            device_id=device_id,
            kind=kind,
            target=target,
            lease=lease,
            transport=transport,
            round=_round(session, target, project_id),
        )
        session.add(entry)
        events.add_of_line(session, entry, ReasonCode.QUEUE_JOINED, actor)
        return entry


def _round(session: orm.Session, target: str, project_id: str) -> int:
    """The round of a new entry."""
    line = _Q.target == target
    last = session.scalar(sa.select(sa.func.max(_Q.round)).where(line, _Q.project_id == project_id))
    if last is not None:
        return last + 1
    return session.scalar(sa.select(sa.func.min(_Q.round)).where(line)) or 0


def _count(session: orm.Session, *conditions: sa.ColumnElement[bool]) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(_Q).where(*conditions)) or 0


@retried
def leave(db: Database, server_id: str, entry_id: str, actor: Actor | None = None) -> bool:
    """Delete a queue entry; False if the server does not have it."""
    with db.writer() as session:
        its = (_Q.entry_id == entry_id, _Q.server_id == server_id)
        return lines.end(session, its, actor) == 1


@retried
def forget_server(db: Database, server_id: str) -> int:
    """Delete the queue entries of a server that is gone; returns their number."""
    with db.writer() as session:
        return lines.end(session, [_Q.server_id == server_id], note=Reason(ReasonCode.SERVER_DELETED))


@dataclasses.dataclass(frozen=True)
class Waiting:
    """An entry and its position, from 1."""

    entry: models.QueueEntry
    place: int


def waiting(
    db: Database,
    *,
    entry_id: str | None = None,
    server_id: str | None = None,
    project_id: str | None = None,
    marker: str | None = None,
    limit: int | None = None,
) -> list[Waiting]:
    """The queue entries, oldest first.

    :param entry_id: this one only; ``server_id`` and ``project_id`` likewise.
    :param marker: only those after the entry of this id.
    """
    statement = sa.select(_Q, lines.ahead()).order_by(_Q.id).limit(limit)
    for column, value in ((_Q.entry_id, entry_id), (_Q.server_id, server_id), (_Q.project_id, project_id)):
        if value is not None:
            statement = statement.where(column == value)
    if marker is not None:
        before = sa.select(_Q.id).where(_Q.entry_id == marker).scalar_subquery()
        statement = statement.where(_Q.id > before)
    with db.reader() as session:
        return [Waiting(entry, ahead + 1) for entry, ahead in session.execute(statement)]


def servers_without_domain(db: Database) -> Sequence[str]:
    """Queued servers without a domain on any host: they are shelved or deleted."""
    anywhere = sa.exists().where(_I.instance_uuid == _Q.server_id)
    with db.reader() as session:
        return session.scalars(sa.select(_Q.server_id).where(~anywhere).distinct()).all()


def is_awaited(db: Database, device_id: str, besides: str) -> bool:
    """Whether servers are queued for a device.

    :param besides: others than this one.
    """
    statement = sa.select(_D.id).where(_D.id == device_id, lines.wanted(besides))
    with db.reader() as session:
        return session.scalar(statement) is not None


def idle(db: Database, up: Window) -> Sequence[str]:
    """The ids of devices that are free although a server is queued for them, and can have them now.

    Those on the host of such a server come first: who may have one over the network gets one that is at hand
    if both are free.

    :param up: tells which agents are up.
    """
    down = host_list.down(db, up)
    served = sa.exists().where(lines.may_have(), lines.reaches(), _I.host.not_in(down)).correlate(_D)
    at_hand = sa.case((served.where(_I.host == _D.host), 0), else_=1)
    statement = (
        sa.select(_D.id)
        .where(*intent.free(None, None), _D.host.not_in(down), served)
        .order_by(at_hand, _D.created_at, _D.id)
    )
    with db.reader() as session:
        return session.scalars(statement).all()


def serve(
    db: Database,
    device_id: str,
    up: Window,
    caps: Callable[[str], usage.Caps],
    is_on: Callable[[str, str], bool],
) -> models.QueueEntry | None:
    """Assign a free device to the first queued server that can use it.

    :param up: tells which agents are up.
    :param caps: the limits of a project.
    :param is_on: whether Nova says that a server is on a host. The agent there says so, which is not enough
        to let that host have a device of another one.
    :returns: whose place in line that was; None if nobody can have it
    """
    for entry, server_host in _line(db, device_id, up):
        if server_host is not None and not is_on(entry.server_id, server_host):
            continue
        try:
            if _grant(db, device_id, entry, server_host, caps(entry.project_id)):
                return entry
        except usage.OverLimit:
            continue  # it keeps its place
        except _NotNow:
            return None
    return None


def _line(db: Database, device_id: str, up: Window) -> list[tuple[models.QueueEntry, str | None]]:
    """Who could have a device, in order, and the host of the server, None if it is the device's.

    Two hosts have a server that moves: the one where it runs comes first.
    """
    down = host_list.down(db, up)
    statement = (
        sa.select(_Q, _I.host, _D.host)
        .select_from(_Q)
        .join(_D, lines.may_have())
        .join(_I, lines.reaches())
        .where(_D.id == device_id, _D.host.not_in(down), _I.host.not_in(down))
        .order_by(_Q.round, _Q.id, _I.running.desc(), sa.case((_I.host == _D.host, 0), else_=1), _I.host)
    )
    with db.reader() as session:
        return [
            (entry, None if server_host == device_host else server_host)
            for entry, server_host, device_host in session.execute(statement)
        ]


@retried
def _grant(
    db: Database, device_id: str, entry: models.QueueEntry, server_host: str | None, caps: usage.Caps
) -> bool:
    """Assign a device to an entry; False if the entry is gone.

    :param server_host: where the server is, if that is not the device's host.
    :raises _NotNow: the device is not free
    """
    actor = Actor(entry.user_id, entry.request_id, entry.project_id)
    with db.writer() as session:
        if session.connection().execute(sa.delete(_Q).where(_Q.id == entry.id)).rowcount == 0:
            return False
        taken = intent.take(
            session,
            device_id,
            entry.server_id,
            entry.project_id,
            actor,
            cause=ReasonCode.QUEUE_SERVED,
            kind=entry.kind,
            caps=caps,
            lease=entry.lease,
            transport=entry.transport,
            server_host=server_host,
        )
        if not taken:
            raise _NotNow
        return True
