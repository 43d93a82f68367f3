# SPDX-License-Identifier: Apache-2.0
"""What syncs are made of: is one a repetition of the last, and what else is written.

Agents sync every few seconds, so that nearly all of what the database does at rest is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from oslo_utils import timeutils
from sqlalchemy import orm

from compute_shim import objects
from compute_shim.db import models, states
from compute_shim.db.api import Database, retried

# More rows than a host can have devices plugged in (127 on a bus: USB 2.0 specification, 9.4.6). A device
# that shows another serial at every plug must not fill the database.
_ROWS_PER_HOST = 512

# What `compute_shim.db.states.claim_of` reads of a device.
_CLAIMS = sa.select(
    models.Device.id,
    models.Device.identity,
    models.Device.port,
    models.Device.generation,
    models.Device.instance_uuid,
    models.Device.state,
    models.Device.reason_code,
    models.Device.state_reason,
    models.Device.present,
    models.Device.enabled,
    models.Device.blocked_reason,
    models.Device.blocked_code,
)


@retried
def unchanged(db: Database, host: str, digest: str, plugged: int) -> list[objects.Claim] | None:
    """Record that a host tells what it told last: one UPDATE and one SELECT.

    Nobody but syncs changes what they write of a device that is plugged in. That all these devices are
    recorded as such is checked nevertheless, because rows may be deleted by hand.

    :param digest: of all that the agent tells.
    :param plugged: how many devices it tells of.
    :returns: what is wanted of every known device of the host; None if it told something else last, or a
        conductor of RPC 1.0 has changed the rows since
    """
    now = timeutils.utcnow()
    statement = (
        sa.update(models.Host)
        .where(
            models.Host.host == host,
            models.Host.digest == digest,
            models.Host.last_seen == models.Host.digested_at,
        )
        .values(last_seen=now, digested_at=now)
    )
    with db.writer() as session:
        if session.connection().execute(statement).rowcount != 1:
            return None
        rows: Sequence[Any] = session.connection().execute(_CLAIMS.where(models.Device.host == host)).all()
    if sum(row.present for row in rows) != plugged:
        return None
    return [states.claim_of(row) for row in rows]


def record_host(session: orm.Session, host: str, **values: Any) -> None:
    """Write the row of a host.

    That comes before all else in a transaction, so that two syncs of one host come one after the other.
    """
    now = timeutils.utcnow()
    values |= {"last_seen": now, "digested_at": now}
    connection = session.connection()
    known = sa.update(models.Host).where(models.Host.host == host).values(**values)
    if connection.execute(known).rowcount == 0:
        connection.execute(sa.insert(models.Host).values(host=host, **values))


def record_devices(
    session: orm.Session, host: str, rows: dict[str, models.Device], devices: Iterable[objects.Device]
) -> None:
    """Write what is plugged in and what is not.

    :param rows: identity -> row, of all known devices of the host; those that are new are added.
    """
    absent = dict(rows)
    for device in devices:
        absent.pop(device.identity, None)
        row = rows.get(device.identity)
        if row is None:
            row = rows[device.identity] = models.Device(host=host, enabled=True)
            session.add(row)
        states.plug(row, device)
    for row in absent.values():
        states.unplug(row)
    session.flush()


def surplus(rows: Sequence[models.Device]) -> list[models.Device]:
    """The rows that are too many: the oldest of those that are neither plugged nor claimed nor disabled."""
    idle = [row for row in rows if not row.present and row.instance_uuid is None and row.enabled]
    idle.sort(key=lambda row: row.created_at)
    return idle[: max(0, len(rows) - _ROWS_PER_HOST)]
