# SPDX-License-Identifier: Apache-2.0
"""Leases for leader election: one of several conductors does what only one may do.

The database's clock alone counts, so that hosts whose clocks differ agree on when a lease ends.
"""

from __future__ import annotations

import sqlalchemy as sa
from oslo_db import exception as db_exception

from compute_shim.db import models
from compute_shim.db.api import Database, retried
from compute_shim.db.clock import InSeconds

_LEASE = models.Lease


class Lease:
    """A right of one holder at a time, until it is released or not renewed in time.

    :param name: of what the holder may do.
    :param holder: unique among all who may want it, and new after every start.
    :param seconds: for which it is lent.
    """

    def __init__(self, db: Database, name: str, holder: str, seconds: int) -> None:
        self._db = db
        self._name = name
        self._holder = holder
        self._seconds = seconds

    def acquire(self) -> bool:
        """Acquire or renew the lease; False while another holder has it."""
        try:
            return self._take_over() or self._insert()
        except db_exception.DBDuplicateEntry:
            return False

    @retried
    def release(self) -> None:
        """Release the lease, if it is ours."""
        statement = sa.delete(_LEASE).where(_LEASE.name == self._name, _LEASE.holder == self._holder)
        with self._db.writer() as session:
            session.execute(statement)

    @retried
    def _take_over(self) -> bool:
        """Compare and swap: of many who try at once, one finds the row as it was."""
        statement = (
            sa.update(_LEASE)
            .where(
                _LEASE.name == self._name,
                sa.or_(_LEASE.holder == self._holder, _LEASE.expires_at < InSeconds(0)),
            )
            .values(holder=self._holder, expires_at=InSeconds(self._seconds))
        )
        with self._db.writer() as session:
            return session.connection().execute(statement).rowcount == 1

    def _insert(self) -> bool:
        """The first to come; False if there is a row already, which somebody else holds."""
        taken = sa.select(_LEASE.holder).where(_LEASE.name == self._name)
        new = sa.insert(_LEASE).values(
            name=self._name, holder=self._holder, expires_at=InSeconds(self._seconds)
        )
        with self._db.writer() as session:
            if session.scalar(taken) is not None:
                return False
            session.execute(new)
        return True
