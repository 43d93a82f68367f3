# SPDX-License-Identifier: Apache-2.0
"""Lists of hosts, and how many devices each has."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import sqlalchemy as sa

from compute_shim.db import models
from compute_shim.db.api import Database
from compute_shim.liveness import Window

_H = models.Host


@dataclasses.dataclass(frozen=True)
class Order:
    """How a list of hosts is sorted.

    :param key: ``host``, or ``last_seen`` and, where that is the same, ``host``.
    """

    key: str = "host"
    descending: bool = False

    @property
    def names(self) -> list[str]:
        """The columns, the most significant first."""
        return list(dict.fromkeys((self.key, "host")))


def page(
    db: Database, order: Order, marker: models.Host | None = None, limit: int | None = None
) -> Sequence[models.Host]:
    """Hosts whose agent has ever reported.

    :param marker: only those after this one.
    :param limit: at most so many.
    """
    columns = [getattr(_H, name) for name in order.names]
    statement = sa.select(_H).limit(limit)
    statement = statement.order_by(*(it.desc() if order.descending else it.asc() for it in columns))
    if marker is not None:
        here = sa.tuple_(*columns)
        there = sa.tuple_(*(sa.literal(getattr(marker, name)) for name in order.names))
        statement = statement.where(here < there if order.descending else here > there)
    with db.reader() as session:
        return session.scalars(statement).all()


def names(db: Database) -> Sequence[str]:
    """The names of all hosts whose agent has ever reported."""
    with db.reader() as session:
        return session.scalars(sa.select(_H.host)).all()


def down(db: Database, up: Window) -> Sequence[str]:
    """The names of the hosts whose agent is not up."""
    statement = sa.select(_H.host).where(sa.or_(_H.last_seen < up.begin, _H.last_seen > up.end))
    with db.reader() as session:
        return session.scalars(statement).all()


def count_devices(db: Database, hosts: Collection[str]) -> dict[str, dict[str, int]]:
    """How many devices of these hosts are in which state, by host."""
    columns = (models.Device.host, models.Device.state)
    statement = sa.select(*columns, sa.func.count()).where(models.Device.host.in_(hosts)).group_by(*columns)
    counts: dict[str, dict[str, int]] = {host: {} for host in hosts}
    with db.reader() as session:
        for host, state, count in session.execute(statement):
            counts[host][state] = count
    return counts
