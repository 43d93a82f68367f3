# SPDX-License-Identifier: Apache-2.0
"""Claims whose server may be gone: finding them, recording the evidence, and releasing them.

Each function is one transaction. Evidence about a claim is bound to its generation.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence

import sqlalchemy as sa
from oslo_utils import timeutils

from compute_shim.db import events, host_list, models, states
from compute_shim.db.api import Database, retried
from compute_shim.db.events import Actor
from compute_shim.liveness import Window
from compute_shim.objects import Reason, ReasonCode, State

_D = models.Device
_UNFULFILLED = tuple(state for state in states.CLAIMED if state != State.ATTACHED)


def in_doubt(db: Database, up: Window, age: datetime.timedelta) -> Sequence[models.Device]:
    """Claims that are not fulfilled, as far as is known, and have not changed for a time.

    The agent of a host that is up speaks for what is attached there. A claim that was changed in the future
    was so before the clock was set back.
    """
    now = timeutils.utcnow()
    stood_still = sa.or_(_D.updated_at < now - age, _D.updated_at > now)
    attached = sa.and_(_D.state == State.ATTACHED, _D.host.in_(host_list.down(db, up)))
    with db.reader() as session:
        # Two statements, and the names of the down hosts: so each has an index, and most claims are neither.
        rows = [
            row
            for condition in (_D.state.in_(_UNFULFILLED), attached)
            for row in session.scalars(sa.select(_D).where(condition, stood_still))
        ]
    return sorted(rows, key=lambda row: (row.created_at, row.id))


def _not_vouched_for(up: Window) -> sa.ColumnElement[bool]:
    return sa.or_(_D.state.in_(_UNFULFILLED), _attached_to_the_dead(up))


def _attached_to_the_dead(up: Window) -> sa.ColumnElement[bool]:
    down = sa.select(models.Host.host).where(sa.not_(models.Host.last_seen.between(up.begin, up.end)))
    return sa.and_(_D.state == State.ATTACHED, _D.host.in_(down))


def domains_seen(db: Database, up: Window, server_ids: Collection[str]) -> set[str]:
    """Those of some servers whose domain is on a host whose agent is up, running or not."""
    statement = sa.select(models.Instance.instance_uuid).where(
        models.Instance.instance_uuid.in_(server_ids),
        models.Instance.host.in_(
            sa.select(models.Host.host).where(models.Host.last_seen.between(up.begin, up.end))
        ),
    )
    with db.reader() as session:
        return set(session.scalars(statement))


@retried
def record_held(db: Database, text: str) -> None:
    """Add to the history that claims are not released, and why."""
    code = ReasonCode.RELEASES_HELD
    with db.writer() as session:
        events.add_of_host(session, None, code, note=Reason(code, text))


def count_claims(db: Database) -> int:
    """How many claims there are."""
    statement = sa.select(sa.func.count()).select_from(_D).where(_D.state.in_(states.CLAIMED))
    with db.reader() as session:
        return session.scalar(statement) or 0


@retried
def remember(db: Database, claim: models.Device, since: datetime.datetime | None) -> None:
    """Record that the server of a claim is proven to be gone, unless the claim has changed since.

    :param since: when it was proven first; None: it is not proven any more.
    """
    statement = (
        sa.update(_D)
        .where(_D.id == claim.id, _D.generation == claim.generation)
        .values(
            absent_since=since,
            absent_seen=since and timeutils.utcnow(),
            absent_generation=None if since is None else claim.generation,
            updated_at=_D.updated_at,  # nothing changed for those who look at the device
        )
        .execution_options(synchronize_session=False)
    )
    with db.writer() as session:
        session.execute(statement)


def proven(db: Database, up: Window, interval: datetime.timedelta) -> Sequence[models.Device]:
    """Claims whose server the last pass of the conductor proved to be gone, not for the first time.

    :param interval: between two passes.
    """
    now = timeutils.utcnow()
    statement = sa.select(_D).where(
        _not_vouched_for(up),
        _D.absent_generation == _D.generation,
        _D.absent_seen.between(now - 2 * interval, now),
    )
    with db.reader() as session:
        rows = session.scalars(statement.order_by(_D.host, _D.id)).all()
    rows = [row for row in rows if row.absent_seen and seen_since(row, row.absent_seen - interval)]
    seen = domains_seen(db, up, {row.instance_uuid for row in rows if row.instance_uuid})
    return [row for row in rows if row.instance_uuid not in seen]


def seen_since(claim: models.Device, moment: datetime.datetime) -> bool:
    """Whether the server of a claim was already proven to be gone at that time, in this generation."""
    since = claim.absent_since
    return claim.absent_generation == claim.generation and since is not None and since <= moment


@retried
def release(db: Database, claim: models.Device, up: Window, actor: Actor) -> bool:
    """Release the device of a server that is gone; False if the claim has changed since.

    :param claim: as it was when that was found out.
    """
    still = sa.select(_D).where(_D.id == claim.id, _D.generation == claim.generation, _not_vouched_for(up))
    with db.writer() as session:
        row = session.scalars(still.with_for_update()).one_or_none()
        if row is None:
            return False
        before = events.Snapshot.of(row)
        row.generation += 1
        row.absent_since = row.absent_seen = row.absent_generation = None
        states.put(row, State.DETACHING)
        events.record(session, row, before, ReasonCode.SERVER_DELETED, actor)
        return True
