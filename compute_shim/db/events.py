# SPDX-License-Identifier: Apache-2.0
"""The history of each device: who or what changed its state, and when."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import orm

from compute_shim.db import models
from compute_shim.db.api import Database
from compute_shim.objects import State, Waiting

# A stick with a loose contact must not fill the database.
_EVENTS_PER_DEVICE = 200

# A claim's obstacle -> what ends it, and what makes it.
_CAME_BACK: dict[str | None, str] = {
    Waiting.UNPLUGGED: "plugged in",
    Waiting.SERVER_OFF: "started",
    Waiting.OTHER_HOST: "migrated",
    Waiting.SHELVED: "unshelved",
    Waiting.BUSY: "moved or saved",
}
_WENT_AWAY: dict[str | None, str] = {
    Waiting.UNPLUGGED: "unplugged",
    Waiting.SERVER_OFF: "stopped",
    Waiting.OTHER_HOST: "migrated",
    Waiting.SHELVED: "shelved",
    Waiting.BUSY: "moved or saved",
}


@dataclasses.dataclass(frozen=True)
class Actor:
    """Who asked for a change.

    :param request_id: of the request, as the answer's header has it.
    """

    user_id: str | None
    request_id: str | None


@dataclasses.dataclass(frozen=True)
class Moment:
    """What an event is a change of."""

    state: str
    reason: str | None
    server_id: str | None
    project_id: str | None

    @classmethod
    def of(cls, row: models.Device) -> Moment:
        """A device as it is now."""
        return cls(row.state, row.state_reason, row.instance_uuid, row.project_id)


def record(
    session: orm.Session,
    row: models.Device,
    before: Moment | None,
    cause: str | None = None,
    actor: Actor | None = None,
    note: str | None = None,
) -> None:
    """Add what has changed since to the history of a device, if anything has.

    :param row: a device that has its id already.
    :param before: None for a device that nobody knew.
    :param cause: of a change that an agent told of, it is worked out.
    :param note: what the state itself does not say.
    """
    now = Moment.of(row)
    if now == before:
        return
    session.add(
        models.Event(
            device_id=row.id,
            cause=cause or _cause(before, now),
            state=now.state,
            state_reason="; ".join(filter(None, (now.reason, note)))[: models.REASON_LENGTH] or None,
            # Of a device that was given back: who had it.
            instance_uuid=now.server_id or (before and before.server_id),
            project_id=now.project_id or (before and before.project_id),
            user_id=actor and actor.user_id,
            request_id=actor and actor.request_id,
        )
    )
    session.flush()
    _drop_oldest(session, row.id)


def _cause(before: Moment | None, now: Moment) -> str:
    """Why an agent saw a change."""
    if before is None:
        return "plugged in"
    if before.state in (State.ATTACHING, State.DETACHING):
        return "asked"
    if now.reason in _WENT_AWAY:
        return _WENT_AWAY[now.reason]
    if before.reason in _CAME_BACK:
        return _CAME_BACK[before.reason]
    return "retried" if now.state in (State.ATTACHED, State.FAILED) else "the host's own use"


def _drop_oldest(session: orm.Session, device_id: str) -> None:
    of_device = sa.select(models.Event.id).where(models.Event.device_id == device_id)
    newest = session.scalars(of_device.order_by(models.Event.id.desc()).limit(_EVENTS_PER_DEVICE)).all()
    if len(newest) == _EVENTS_PER_DEVICE:
        session.execute(
            sa.delete(models.Event).where(models.Event.device_id == device_id, models.Event.id < newest[-1])
        )


def of_device(db: Database, device_id: str, project_id: str | None) -> Sequence[models.Event]:
    """The history of a device, the latest first.

    :param project_id: only of the time in which this project had the device; None: all.
    """
    statement = sa.select(models.Event).where(models.Event.device_id == device_id)
    if project_id is not None:
        statement = statement.where(models.Event.project_id == project_id)
    with db.reader() as session:
        return session.scalars(statement.order_by(models.Event.id.desc())).all()


def forget(session: orm.Session, device_id: str) -> None:
    """Drop the history of a device, with the device."""
    session.execute(sa.delete(models.Event).where(models.Event.device_id == device_id))
