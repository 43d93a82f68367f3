# SPDX-License-Identifier: Apache-2.0
"""What is read from the history, and how long it is kept."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

import sqlalchemy as sa
from oslo_config import cfg
from oslo_log import log
from oslo_utils import timeutils

from compute_shim.db import models
from compute_shim.db.api import Database, retried

LOG = log.getLogger(__name__)

#: Longest time for which events can be kept: any longer means forever, and is no date before today.
MOST_DAYS = 36500

# Events that one transaction deletes, so that no other waits for it long.
_BATCH = 1000

_E = models.Event


@dataclasses.dataclass(frozen=True)
class Filter:
    """Which events; None for a field that does not matter.

    :param oldest_first: the order; by default the latest event is the first.
    :param project_id: of the time in which this project had the device.
    :param since: UTC without a zone.
    """

    device_id: str | None = None
    server_id: str | None = None
    project_id: str | None = None
    since: datetime.datetime | None = None
    oldest_first: bool = False


def page(
    db: Database, wanted: Filter, marker: int | None = None, limit: int | None = None
) -> Sequence[models.Event]:
    """The events that fit the filter.

    :param marker: only those after the event in this place, in the order of the list.
    :param limit: at most so many.
    """
    columns = {
        _E.device_id: wanted.device_id,
        _E.instance_uuid: wanted.server_id,
        _E.project_id: wanted.project_id,
    }
    statement = sa.select(_E).where(
        *(column == value for column, value in columns.items() if value is not None)
    )
    if wanted.since is not None:
        statement = statement.where(_E.created_at >= wanted.since)
    if marker is not None:
        statement = statement.where(_E.id > marker if wanted.oldest_first else _E.id < marker)
    order = _E.id if wanted.oldest_first else _E.id.desc()
    with db.reader() as session:
        return session.scalars(statement.order_by(order).limit(limit)).all()


def place(db: Database, event_id: str) -> int | None:
    """The place in the history of the event of an id, None if there is none."""
    known = _E.event_id == event_id
    if event_id.isdigit():
        known = sa.and_(_E.id == int(event_id), _E.event_id.is_(None))
    with db.reader() as session:
        return session.scalar(sa.select(_E.id).where(known))


def purge(db: Database, days: int) -> int:
    """Delete the events that are older, in transactions of their own.

    :param days: 0: none is too old.
    :returns: how many were deleted
    """
    if days == 0:
        return 0
    end = timeutils.utcnow() - datetime.timedelta(days=days)
    total = 0
    while deleted := _purge_batch(db, end):
        total += deleted
    return total


@retried
def _purge_batch(db: Database, end: datetime.datetime) -> int:
    # By id: DELETE has a LIMIT on MariaDB and MySQL only.
    oldest = sa.select(_E.id).where(_E.created_at < end).order_by(_E.created_at).limit(_BATCH)
    with db.writer() as session:
        ids = session.scalars(oldest).all()
        if not ids:
            return 0
        return session.connection().execute(sa.delete(_E).where(_E.id.in_(ids))).rowcount


def expire(conf: cfg.ConfigOpts, db: Database) -> None:
    """Delete what is older than ``[history] retention_days``; for one conductor, from time to time."""
    days = conf.history.retention_days
    if count := purge(db, days):
        LOG.info("Deleted %s events that were older than %s days", count, days)
