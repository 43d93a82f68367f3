# SPDX-License-Identifier: Apache-2.0
"""End the leases of devices.

The database's clock says how long a lease that is seen for the first time still lasts; from then on our own
clock counts, which no step changes. So a step of the database's clock ends no lease early or late, unless
another conductor takes over at that time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from oslo_context import context as oslo_context
from oslo_log import log

from compute_shim.db import device_leases
from compute_shim.db.api import Database
from compute_shim.db.device_leases import Running
from compute_shim.db.events import Actor
from compute_shim.db.leases import Lease
from compute_shim.nudger import Nudger

LOG = log.getLogger(__name__)


class LeaseEnd:
    """Makes one pass per call, if this conductor is the leader.

    :param turn: of the conductors.
    :param warn_before: seconds before the end of a lease at which to send a warning; 0: never.
    """

    def __init__(
        self,
        db: Database,
        nudger: Nudger,
        turn: Lease,
        warn_before: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._nudger = nudger
        self._turn = turn
        self._warn_before = warn_before
        self._clock = clock
        # Device id -> its lease as first seen, and its end on our own clock.
        self._ends: dict[str, tuple[Running, float]] = {}

    def __call__(self) -> None:
        if not self._turn.acquire():
            self._ends.clear()
            return
        leases = device_leases.running(self._db)
        now = self._clock()
        self._ends = {lease.device_id: self._end_of(lease, now) for lease in leases}
        for lease in leases:
            left = self._ends[lease.device_id][1] - now
            if left <= 0:
                self._end(lease)
            elif left <= self._warn_before and not lease.warned:
                device_leases.warn(self._db, lease)

    def _end_of(self, lease: Running, now: float) -> tuple[Running, float]:
        known = self._ends.get(lease.device_id)
        if known is not None and (known[0].generation, known[0].until) == (lease.generation, lease.until):
            return known
        return lease, now + lease.seconds_left

    def _end(self, lease: Running) -> None:
        request_id = oslo_context.generate_request_id()
        if device_leases.end(self._db, lease, Actor(None, request_id)):
            LOG.info("The lease of device %s is over: giving it back [%s]", lease.device_id, request_id)
            self._nudger.nudge(lease.device_id, {"request_id": request_id})
