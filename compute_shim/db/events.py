# SPDX-License-Identifier: Apache-2.0
"""Write the history: who or what changed a device, and when.

The history is append-only: no event is changed, and only `compute_shim.db.history.purge` removes events, by
age. A device with a loose contact, or one that shows another serial number at every plug, must not fill the
database. So there is a limit on changes that nobody requested, for each port and each project that has the
device there: those above it are not recorded. What somebody requested is always recorded, and so is what
becomes of it.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa
from oslo_utils import timeutils
from sqlalchemy import orm

from compute_shim import legacy_reasons
from compute_shim.db import models, states
from compute_shim.db.api import AFTER_COMMIT
from compute_shim.objects import Reason, ReasonCode, State
from novaclient_usb.reason_codes import describe

# Changes that nobody requested: so many are recorded in a time, for each port and project.
_LIMIT = 60
_LIMIT_TIME = datetime.timedelta(hours=1)

_CAUSE_LENGTH = 32  # of the column

# Obstacles of a device that is used over the network.
_CONNECTION: dict[str, ReasonCode] = dict.fromkeys(
    (
        ReasonCode.CHANNEL_CONNECTING,
        ReasonCode.CHANNEL_UNREACHABLE,
        ReasonCode.CHANNEL_REFUSED,
        ReasonCode.CHANNEL_FAILED,
        ReasonCode.CHANNEL_LIMIT,
        ReasonCode.NO_NETWORK_TRANSPORT,
    ),
    ReasonCode.CONNECTION_CHANGED,
)
# A claim's obstacle -> what ends it, and what makes it.
_ENDED_BY: dict[str, ReasonCode] = {
    ReasonCode.UNPLUGGED: ReasonCode.PLUGGED_IN,
    # By the device that it could have been.
    ReasonCode.IDENTITY_IN_DOUBT: ReasonCode.PLUGGED_IN,
    ReasonCode.SERVER_OFF: ReasonCode.SERVER_STARTED,
    # A server that is stopped may have no domain for a moment.
    ReasonCode.DOMAIN_ABSENT: ReasonCode.SERVER_STARTED,
    ReasonCode.SERVER_ON_OTHER_HOST: ReasonCode.SERVER_MOVED,
    ReasonCode.KIND_NOT_FREE: ReasonCode.SERVER_MOVED,
    ReasonCode.SERVER_SHELVED: ReasonCode.SERVER_UNSHELVED,
    ReasonCode.SERVER_BUSY: ReasonCode.SERVER_BUSY,
    **_CONNECTION,
}
_MADE_BY: dict[str, ReasonCode] = {
    ReasonCode.UNPLUGGED: ReasonCode.UNPLUGGED,
    ReasonCode.SERVER_OFF: ReasonCode.SERVER_STOPPED,
    ReasonCode.DOMAIN_ABSENT: ReasonCode.SERVER_STOPPED,
    ReasonCode.SERVER_ON_OTHER_HOST: ReasonCode.SERVER_MOVED,
    ReasonCode.KIND_NOT_FREE: ReasonCode.SERVER_MOVED,
    ReasonCode.SERVER_SHELVED: ReasonCode.SERVER_SHELVED,
    ReasonCode.SERVER_BUSY: ReasonCode.SERVER_BUSY,
    **_CONNECTION,
}


# Causes of changes that nobody requested.
_UNREQUESTED = frozenset(
    {
        *_ENDED_BY.values(),
        *_MADE_BY.values(),
        ReasonCode.RETRIED,
        ReasonCode.HOST_USE_CHANGED,
        ReasonCode.FORGOTTEN,
        ReasonCode.HOST_PROBLEM,
    }
)


@dataclasses.dataclass(frozen=True)
class Actor:
    """Who asked for a change.

    :param request_id: of the request, as the answer's header has it.
    :param project_id: in which they work, which need not be the one that has the device.
    """

    user_id: str | None
    request_id: str | None
    project_id: str | None = None


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The values of a device whose change makes an event."""

    state: str
    reason: Reason | None
    server_id: str | None
    project_id: str | None

    @classmethod
    def of(cls, row: models.Device) -> Snapshot:
        """A device as it is now."""
        return cls(row.state, states.reason(row), row.instance_uuid, row.project_id)


def record(
    session: orm.Session,
    row: models.Device,
    before: Snapshot | None,
    cause: ReasonCode | None = None,
    actor: Actor | None = None,
    note: Reason | None = None,
) -> None:
    """Add an event to the history of a device, if it has changed since.

    :param row: a device that has its id already.
    :param before: None for a device that nobody knew.
    :param cause: of a change that an agent told of, it is worked out.
    :param note: what the state itself does not say, for example what became of the reset.
    """
    if Snapshot.of(row) != before:
        _add(session, [_values(row, before, cause, actor, note)])


def record_many(
    session: orm.Session, changes: Iterable[tuple[models.Device, Snapshot | None]], *, of_new_host: bool
) -> None:
    """Add to the histories of a host's devices, in one statement, what its agent told of.

    :param changes: devices, and as each was before; as for `record`.
    :param of_new_host: that the host has not reported before.
    """
    found = [_values(row, before) for row, before in changes if Snapshot.of(row) != before]
    if of_new_host:
        # It has no history to look into, and the hosts of a new cloud come all at once.
        _insert(session, found)
    else:
        _add(session, found)


def add(
    session: orm.Session,
    row: models.Device,
    cause: ReasonCode,
    actor: Actor | None = None,
    note: Reason | None = None,
) -> None:
    """Add to the history of a device what need not change its state; as for `record`."""
    _add(session, [_values(row, None, cause, actor, note)])


def add_of_host(
    session: orm.Session,
    host: str | None,
    cause: ReasonCode,
    actor: Actor | None = None,
    note: Reason | None = None,
) -> None:
    """Add an event of a host, or of all hosts, rather than of a single device."""
    columns = _cause_columns(cause) | _reason_columns(None, note) | _who(actor)
    none = {"device_id": "", "port": None, "state": "", "project_id": None}
    _add(session, [{**none, "host": host, **columns}])


def add_of_line(
    session: orm.Session,
    entry: models.QueueEntry,
    cause: ReasonCode,
    actor: Actor | None = None,
    note: Reason | None = None,
) -> None:
    """Add an event of a queue entry. Its project may not know the device's state.

    :param note: what else there is to say; as for `record`.
    """
    row = None if entry.device_id is None else session.get(models.Device, entry.device_id)
    columns = {
        "device_id": entry.device_id or "",
        "device_name": entry.kind if row is None else row.name,
        "host": None if row is None else row.host,
        "port": None if row is None else row.port,
        "state": "",
        "instance_uuid": entry.server_id,
        "project_id": entry.project_id,
    }
    _add(session, [columns | _cause_columns(cause) | _reason_columns(None, note) | _who(actor)])


def operated(
    session: orm.Session, row: models.Device, description: str, enabled: bool, actor: Actor | None
) -> None:
    """Add an event for a change by an operator.

    :param description: as it was before; so is ``enabled``.
    """
    if row.enabled != enabled:
        add(session, row, ReasonCode.ENABLED if row.enabled else ReasonCode.DISABLED, actor)
    if row.description != description:
        change = Reason(ReasonCode.DESCRIBED, f'description "{description}" -> "{row.description}"')
        add(session, row, ReasonCode.DESCRIBED, actor, change)


def _values(
    row: models.Device,
    before: Snapshot | None,
    cause: ReasonCode | None = None,
    actor: Actor | None = None,
    note: Reason | None = None,
) -> dict[str, Any]:
    """The columns of an event."""
    now = Snapshot.of(row)
    return {
        "device_id": row.id,
        "device_name": row.name,
        "host": row.host,
        "port": row.port,
        "state": now.state,
        **_cause_columns(cause or _cause(before, now)),
        **_reason_columns(now.reason, note),
        # Of a device that was given back: who had it.
        "instance_uuid": now.server_id or (before and before.server_id),
        "project_id": now.project_id or (before and before.project_id),
        **_who(actor),
    }


def _cause_columns(cause: ReasonCode) -> dict[str, str]:
    return {"cause": (describe(cause) or "")[:_CAUSE_LENGTH], "cause_code": cause}


def _reason_columns(why: Reason | None, note: Reason | None) -> dict[str, str | None]:
    """The reason for the state and what else there is to say; the code is of the latter."""
    decides = why if note is None else note
    text = "; ".join(reason.text for reason in (why, note) if reason)
    return {
        "reason_code": None if decides is None else decides.code,
        "state_reason": text[: models.REASON_LENGTH] or None,
    }


def _who(actor: Actor | None) -> dict[str, str | None]:
    actor = actor or Actor(None, None)
    return {
        "user_id": actor.user_id,
        "actor_project_id": actor.project_id,
        "request_id": actor.request_id,
    }


def _cause(before: Snapshot | None, now: Snapshot) -> ReasonCode:
    """Why an agent saw a change."""
    if before is None:
        return ReasonCode.PLUGGED_IN
    if before.state in (State.ATTACHING, State.DETACHING):
        again = now.state == before.state and before.reason is not None
        return ReasonCode.RETRIED if again else ReasonCode.REQUESTED
    if now.reason and now.reason.code in _MADE_BY:
        return _MADE_BY[now.reason.code]
    if before.reason and before.reason.code in _ENDED_BY:
        return _ENDED_BY[before.reason.code]
    if now.state in (State.ATTACHED, State.FAILED):
        return ReasonCode.RETRIED
    return ReasonCode.HOST_USE_CHANGED


def _add(session: orm.Session, events: Collection[dict[str, Any]]) -> None:
    """Insert events without those above the limit."""
    _insert(session, _without_flaps(session, events))


def _insert(session: orm.Session, events: Iterable[dict[str, Any]]) -> None:
    """Insert events, and send their notifications when the transaction is committed."""
    kept = [event | {"created_at": timeutils.utcnow()} for event in events]
    if kept:
        session.execute(sa.insert(models.Event), kept)
        session.info.setdefault(AFTER_COMMIT, []).extend(kept)


def _without_flaps(session: orm.Session, events: Collection[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """The events without those above the limit; the last one that is below it says so."""
    unrequested = [event for event in events if _is_unrequested(event)]
    seen = _recent(session, {event["host"] for event in unrequested}) if unrequested else {}
    for event in events:
        if _is_unrequested(event):
            key = (event["host"], event["port"], event["project_id"])
            seen[key] = seen.get(key, 0) + 1
            if seen[key] > _LIMIT:
                continue
            if seen[key] == _LIMIT:
                why = event["reason_code"] and Reason(event["reason_code"], event["state_reason"])
                event = event | _reason_columns(why, Reason(ReasonCode.FLAPPING))
        yield event


def _is_unrequested(event: dict[str, Any]) -> bool:
    return event["user_id"] is None and event["cause_code"] in _UNREQUESTED


def _recent(session: orm.Session, hosts: Collection[str]) -> dict[tuple[str | None, ...], int]:
    """How many changes that nobody requested were recorded, by host, port and project."""
    now = timeutils.utcnow()
    columns = (models.Event.host, models.Event.port, models.Event.project_id)
    statement = (
        sa.select(*columns, sa.func.count())
        .where(
            models.Event.host.in_(hosts),
            # What is from the future was recorded before the clock was set back.
            models.Event.created_at.between(now - _LIMIT_TIME, now),
            models.Event.cause_code.in_(_UNREQUESTED),
            models.Event.user_id.is_(None),
        )
        .group_by(*columns)
    )
    return {(host, port, project): count for host, port, project, count in session.execute(statement)}


def reason(event: models.Event) -> Reason | None:
    """The reason for a device's state."""
    if event.state_reason is None:
        return None
    code = event.reason_code or legacy_reasons.code_of(event.state_reason, ReasonCode.HYPERVISOR_ERROR)
    return Reason(code or ReasonCode.HYPERVISOR_ERROR, event.state_reason)
