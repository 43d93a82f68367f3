# SPDX-License-Identifier: Apache-2.0
"""Delete the queue entries of deleted servers.

Two witnesses, as for claims (`compute_shim.conductor.decision`): no host has a domain of the server, and Nova
has no such server, in two passes. A shelved server keeps its entries.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from oslo_log import log

from compute_shim.conductor.backoff import BackOff
from compute_shim.db import queue
from compute_shim.db.api import Database
from compute_shim.db.leases import Lease

LOG = log.getLogger(__name__)


class LineEnd:
    """Makes one pass per call, if this conductor is the leader.

    :param is_gone: whether Nova reports that a server is deleted.
    :param turn: of the conductors.
    :param obstacle: tells why no entry may be deleted now, None if deletion is allowed.
    :param interval: seconds between two passes.
    """

    def __init__(
        self,
        db: Database,
        is_gone: Callable[[str], bool],
        turn: Lease,
        obstacle: Callable[[], str | None],
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._is_gone = is_gone
        self._turn = turn
        self._obstacle = obstacle
        self._interval = interval
        self._clock = clock
        self._back_off = BackOff(interval, clock)
        # Server -> when Nova first reported that it is gone.
        self._gone: dict[str, float] = {}

    def __call__(self) -> None:
        if not self._turn.acquire():
            self._gone.clear()
            return
        servers = queue.servers_without_domain(self._db)
        self._back_off.keep(set(servers))
        self._gone = {server_id: since for server_id, since in self._gone.items() if server_id in servers}
        if not servers or self._obstacle() is not None:
            return
        for server_id in servers:
            # A pass may take longer than the lease.
            if self._back_off.is_due(server_id) and self._turn.acquire():
                self._look(server_id)

    def _look(self, server_id: str) -> None:
        if not self._is_gone(server_id):
            self._gone.pop(server_id, None)
            self._back_off.no_news(server_id)
            return
        first = self._gone.setdefault(server_id, self._clock())
        if self._clock() - first >= self._interval:
            count = queue.forget_server(self._db, server_id)
            LOG.info("Server %s is deleted: giving up its places in line, %s", server_id, count)
