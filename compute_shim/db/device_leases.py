# SPDX-License-Identifier: Apache-2.0
"""Leases of devices: how long a server may hold a device.

Not to be confused with the leases by which conductors take turns (`compute_shim.db.leases`). The database's
clock counts, as there. Each function is one transaction.
"""

from __future__ import annotations

import dataclasses
import datetime

import sqlalchemy as sa
from sqlalchemy import orm

from compute_shim.db import events, models, states
from compute_shim.db.api import Database, retried
from compute_shim.db.clock import InSeconds
from compute_shim.db.events import Actor
from compute_shim.objects import Reason, ReasonCode, State

_D = models.Device


@dataclasses.dataclass(frozen=True)
class Running:
    """A lease that has not been ended.

    :param generation: of the claim.
    :param until: when it ends, by the database's clock.
    :param seconds_left: until then.
    :param warned: its end was told of before.
    """

    device_id: str
    generation: int
    until: datetime.datetime
    seconds_left: float
    warned: bool


def running(db: Database) -> list[Running]:
    """All leases."""
    columns = (_D.id, _D.generation, _D.lease_until, InSeconds(0), _D.lease_warned)
    statement = sa.select(*columns).where(_D.lease_until.is_not(None), _D.state.in_(states.CLAIMED))
    with db.reader() as session:
        return [
            Running(device_id, generation, until, (until - now).total_seconds(), warned == until)
            for device_id, generation, until, now, warned in session.execute(statement)
            if until is not None
        ]


@retried
def warn(db: Database, lease: Running) -> None:
    """Record that a lease is about to end, unless it has changed since."""
    with db.writer() as session:
        row = _locked(session, lease)
        if row is not None:
            row.lease_warned = lease.until
            events.add(
                session, row, ReasonCode.LEASE_ENDING, note=_until(ReasonCode.LEASE_ENDING, lease.until)
            )


@retried
def end(db: Database, lease: Running, actor: Actor) -> bool:
    """Release the device of an expired lease; False if the lease has changed since."""
    with db.writer() as session:
        row = _locked(session, lease)
        if row is None:
            return False
        before = events.Snapshot.of(row)
        row.generation += 1
        states.put(row, State.DETACHING)
        events.record(session, row, before, ReasonCode.LEASE_ENDED, actor)
        return True


@retried
def change(db: Database, device_id: str, server_id: str, seconds: int | None, actor: Actor) -> bool:
    """Have a lease end so many seconds from now; None: never.

    :returns: False if the server does not have the device
    """
    with db.writer() as session:
        row = session.get(_D, device_id, with_for_update=True)
        if row is None or row.instance_uuid != server_id or row.state not in states.CLAIMED:
            return False
        before = row.lease_until
        row.lease_until = None if seconds is None else InSeconds(seconds)
        session.flush()
        session.refresh(row, ["lease_until"])
        if row.lease_until != before:
            note = _until(ReasonCode.LEASE_CHANGED, row.lease_until)
            events.add(session, row, ReasonCode.LEASE_CHANGED, actor, note)
        return True


def _locked(session: orm.Session, lease: Running) -> models.Device | None:
    """The device of a lease, if that is still the same."""
    row = session.get(_D, lease.device_id, with_for_update=True)
    same = row is not None and (row.generation, row.lease_until) == (lease.generation, lease.until)
    return row if row is not None and same and row.state in states.CLAIMED else None


def _until(code: ReasonCode, moment: datetime.datetime | None) -> Reason:
    text = "without an end" if moment is None else f"until {moment.isoformat(timespec='seconds')}Z"
    return Reason(code, text)
