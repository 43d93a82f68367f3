# SPDX-License-Identifier: Apache-2.0
"""Counts of devices, claims and hosts, for metrics."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import sqlalchemy as sa
from oslo_utils import timeutils
from sqlalchemy import orm

from compute_shim.db import models
from compute_shim.db.api import Database


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Counts at one moment.

    :param devices: (host, state) -> number of devices.
    :param claims: state -> number of devices that a server has.
    :param hosts_up: hosts whose agent is alive.
    :param hosts_down: hosts whose agent is not.
    :param projects: project -> number of devices that its servers have.
    :param queue: kind -> number of places in line; those for a certain device are of none.
    """

    devices: dict[tuple[str, str], int]
    claims: dict[str, int]
    hosts_up: int
    hosts_down: int
    projects: dict[str, int] = dataclasses.field(default_factory=dict)
    queue: dict[str, int] = dataclasses.field(default_factory=dict)


def take(db: Database, host_down_time: int) -> Statistics:
    """Count, by one query for each kind.

    :param host_down_time: seconds without a heartbeat after which a host is considered down.
    :raises oslo_db.exception.DBError: the database cannot be asked; so does
        `sqlalchemy.exc.SQLAlchemyError`
    """
    with db.reader() as session:
        devices = {(host, state): count for host, state, count in session.execute(_devices())}
        claims = {row[0]: row[1] for row in session.execute(_claims())}
        projects = {row[0] or "": row[1] for row in session.execute(_projects())}
        queue = {row[0] or "": row[1] for row in session.execute(_queue())}
        total, up = session.execute(_hosts(datetime.timedelta(seconds=host_down_time))).one()
    return Statistics(devices, claims, int(up), int(total) - int(up), projects, queue)


def _devices() -> sa.Select[*tuple[Any, ...]]:
    return sa.select(models.Device.host, models.Device.state, sa.func.count()).group_by(
        models.Device.host, models.Device.state
    )


def _claims() -> sa.Select[*tuple[Any, ...]]:
    return (
        sa.select(models.Device.state, sa.func.count())
        .where(models.Device.instance_uuid.is_not(None))
        .group_by(models.Device.state)
    )


def _projects() -> sa.Select[*tuple[Any, ...]]:
    held = models.Device.instance_uuid.is_not(None)
    return sa.select(models.Device.project_id, sa.func.count()).where(held).group_by(models.Device.project_id)


def _queue() -> sa.Select[*tuple[Any, ...]]:
    return sa.select(models.QueueEntry.kind, sa.func.count()).group_by(models.QueueEntry.kind)


def _hosts(down_time: datetime.timedelta) -> sa.Select[*tuple[Any, ...]]:
    now = timeutils.utcnow()
    seen: orm.InstrumentedAttribute[datetime.datetime] = models.Host.last_seen
    # As `compute_shim.liveness.Window` has it.
    alive = sa.case((seen.between(now - down_time, now + down_time), 1), else_=0)
    return sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(alive), 0)).select_from(models.Host)
