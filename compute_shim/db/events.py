# SPDX-License-Identifier: Apache-2.0
"""The history of each device: who or what changed its state, and when."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from compute_shim import legacy_reasons
from compute_shim.db import models, states
from compute_shim.db.api import Database
from compute_shim.objects import Reason, ReasonCode, State
from novaclient_usb.reason_codes import describe

_CAUSE_LENGTH = 32  # of the column

# A claim's obstacle -> what ends it, and what makes it.
_ENDED_BY: dict[str, ReasonCode] = {
    ReasonCode.UNPLUGGED: ReasonCode.PLUGGED_IN,
    ReasonCode.SERVER_OFF: ReasonCode.SERVER_STARTED,
    # A server that is stopped may have no domain for a moment.
    ReasonCode.DOMAIN_ABSENT: ReasonCode.SERVER_STARTED,
    ReasonCode.SERVER_ON_OTHER_HOST: ReasonCode.SERVER_MOVED,
    ReasonCode.SERVER_SHELVED: ReasonCode.SERVER_UNSHELVED,
    ReasonCode.SERVER_BUSY: ReasonCode.SERVER_BUSY,
}
_MADE_BY: dict[str, ReasonCode] = {
    ReasonCode.UNPLUGGED: ReasonCode.UNPLUGGED,
    ReasonCode.SERVER_OFF: ReasonCode.SERVER_STOPPED,
    ReasonCode.DOMAIN_ABSENT: ReasonCode.SERVER_STOPPED,
    ReasonCode.SERVER_ON_OTHER_HOST: ReasonCode.SERVER_MOVED,
    ReasonCode.SERVER_SHELVED: ReasonCode.SERVER_SHELVED,
    ReasonCode.SERVER_BUSY: ReasonCode.SERVER_BUSY,
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
    reason: Reason | None
    server_id: str | None
    project_id: str | None

    @classmethod
    def of(cls, row: models.Device) -> Moment:
        """A device as it is now."""
        return cls(row.state, states.reason(row), row.instance_uuid, row.project_id)


def record(
    session: orm.Session,
    row: models.Device,
    before: Moment | None,
    cause: ReasonCode | None = None,
    actor: Actor | None = None,
    note: Reason | None = None,
) -> None:
    """Add what has changed since to the history of a device, if anything has.

    :param row: a device that has its id already.
    :param before: None for a device that nobody knew.
    :param cause: of a change that an agent told of, it is worked out.
    :param note: what the state itself does not say, for example what became of the reset.
    """
    _add(session, [_values(row, before, cause, actor, note)])


def record_many(session: orm.Session, changes: Iterable[tuple[models.Device, Moment | None]]) -> None:
    """Add to the histories of many devices, in one statement, what an agent told of.

    :param changes: devices, and as each was before; as for `record`.
    """
    _add(session, [_values(row, before) for row, before in changes])


def _add(session: orm.Session, events: Iterable[dict[str, Any] | None]) -> None:
    """Insert the events that are there."""
    values = [event for event in events if event is not None]
    if values:
        session.execute(sa.insert(models.Event), values)


def _values(
    row: models.Device,
    before: Moment | None,
    cause: ReasonCode | None = None,
    actor: Actor | None = None,
    note: Reason | None = None,
) -> dict[str, Any] | None:
    """The columns of an event, None if nothing has changed."""
    now = Moment.of(row)
    if now == before:
        return None
    cause = cause or _cause(before, now)
    why = note or now.reason
    text = "; ".join(reason.text for reason in (now.reason, note) if reason)
    return {
        "device_id": row.id,
        "device_name": row.name,
        "host": row.host,
        "cause": (describe(cause) or "")[:_CAUSE_LENGTH],
        "cause_code": cause,
        "state": now.state,
        "reason_code": why and why.code,
        "state_reason": text[: models.REASON_LENGTH] or None,
        # Of a device that was given back: who had it.
        "instance_uuid": now.server_id or (before and before.server_id),
        "project_id": now.project_id or (before and before.project_id),
        "user_id": actor and actor.user_id,
        "request_id": actor and actor.request_id,
    }


def _cause(before: Moment | None, now: Moment) -> ReasonCode:
    """Why an agent saw a change."""
    if before is None:
        return ReasonCode.PLUGGED_IN
    if before.state in (State.ATTACHING, State.DETACHING):
        return ReasonCode.REQUESTED
    if now.reason and now.reason.code in _MADE_BY:
        return _MADE_BY[now.reason.code]
    if before.reason and before.reason.code in _ENDED_BY:
        return _ENDED_BY[before.reason.code]
    if now.state in (State.ATTACHED, State.FAILED):
        return ReasonCode.RETRIED
    return ReasonCode.HOST_USE_CHANGED


def of_device(db: Database, device_id: str, project_id: str | None) -> Sequence[models.Event]:
    """The history of a device, the latest first.

    :param project_id: only of the time in which this project had the device; None: all.
    """
    statement = sa.select(models.Event).where(models.Event.device_id == device_id)
    if project_id is not None:
        statement = statement.where(models.Event.project_id == project_id)
    with db.reader() as session:
        return session.scalars(statement.order_by(models.Event.id.desc())).all()


def reason(event: models.Event) -> Reason | None:
    """Why a device came to its state."""
    if event.state_reason is None:
        return None
    code = event.reason_code or legacy_reasons.code_of(event.state_reason, ReasonCode.HYPERVISOR_ERROR)
    return Reason(code or ReasonCode.HYPERVISOR_ERROR, event.state_reason)


def forget(session: orm.Session, device_id: str) -> None:
    """Drop the history of a device, with the device."""
    session.execute(sa.delete(models.Event).where(models.Event.device_id == device_id))
