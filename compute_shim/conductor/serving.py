# SPDX-License-Identifier: Apache-2.0
"""Assign free devices: to servers that have moved away from theirs, and to queued servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

from oslo_log import log
from oslo_utils import timeutils

from compute_shim import exception
from compute_shim.conductor import metrics, woken
from compute_shim.conductor.backoff import BackOff
from compute_shim.db import intent, moves, queue, usage
from compute_shim.db.api import Database
from compute_shim.liveness import Window
from compute_shim.objects import ReasonCode

LOG = log.getLogger(__name__)

# Seconds between two looks for what no agent told this conductor: a server has got in line for what is free,
# or another conductor was told and ended.
_INTERVAL = 5
# Seconds for which a project's limits are not asked for again.
_FRESH = 5


class Nudger(Protocol):
    """Tells agents of changes (`compute_shim.nudger.Nudger`)."""

    def nudge(self, device_id: str, context: Mapping[str, Any]) -> None: ...


class Serving:
    """Assigns devices when woken, and periodically. Every conductor does so: a device is claimed only once.

    :param limits: how many devices a project may have (`compute_shim.keystone.Keystone.limits`).
    :param per_server: ``[api] max_devices_per_server``.
    :param window: tells which agents are up now.
    :param is_on: whether Nova says that a server is on a host.
    """

    def __init__(
        self,
        db: Database,
        nudger: Nudger,
        limits: Callable[[str], Mapping[str, int]],
        per_server: int | None,
        window: Callable[[], Window],
        is_on: Callable[[str, str], bool],
    ) -> None:
        self._db = db
        self._nudger = nudger
        self._limits = limits
        self._per_server = per_server
        self._window = window
        self._is_on = is_on
        self._unconfirmed = BackOff(_INTERVAL)
        self._caps: dict[str, tuple[usage.Caps, float]] = {}
        self._news = threading.Event()

    def wake(self) -> None:
        """A device may have become free."""
        self._news.set()

    def run(self) -> None:
        """Serve forever."""
        woken.run(self._news, self._attempt, _INTERVAL, "look for servers in line")

    def _attempt(self) -> None:
        try:
            self.serve()
        except exception.ApiError as error:
            LOG.warning("Servers in line stay there: %s", error)

    def serve(self) -> None:
        """Assign every free device to a server that has moved, or else to the first server queued for it.

        :raises compute_shim.exception.Unavailable: Keystone does not tell how many devices a project may have
        """
        pending = {_key(move): move for move in moves.pending(self._db, self._window())}
        self._unconfirmed.keep(pending.keys())
        for key, move in pending.items():
            if self._unconfirmed.is_due(key) and not self._follow(move):
                self._unconfirmed.no_news(key)
                # Nova may not answer, and those in line wait.
                break
        for device_id in queue.idle(self._db):
            entry = queue.serve(self._db, device_id, self._caps_of)
            if entry is not None:
                LOG.info("Server %s gets device %s: next in line", entry.server_id, device_id)
                metrics.queue_wait_seconds.observe((timeutils.utcnow() - entry.created_at).total_seconds())
                self._nudger.nudge(device_id, {"request_id": entry.request_id})

    def _follow(self, move: moves.Move) -> bool:
        """Give a server that has moved another device of the kind that it claimed.

        :returns: False if Nova does not confirm that it has
        """
        claim = move.claim
        device_id = None
        if move.may_be_fulfilled:
            if not self._is_on(claim.instance_uuid or "", move.host):
                return False
            device_id = intent.replace(self._db, claim, move.host)
        if device_id is None:
            if claim.reason_code != ReasonCode.KIND_NOT_FREE:
                intent.wait_for_server(self._db, claim, ReasonCode.KIND_NOT_FREE)
            return True
        LOG.info(
            "Server %s is on host %s: device %s takes the place of %s",
            claim.instance_uuid,
            move.host,
            device_id,
            claim.id,
        )
        for changed in (device_id, claim.id):
            self._nudger.nudge(changed, {})
        return True

    def _caps_of(self, project_id: str) -> usage.Caps:
        known = self._caps.get(project_id)
        if known is None or time.monotonic() >= known[1]:
            caps = usage.Caps(self._limits(project_id), self._per_server)
            known = self._caps[project_id] = caps, time.monotonic() + _FRESH
        return known[0]


def _key(move: moves.Move) -> Hashable:
    return move.claim.id, move.claim.generation, move.claim.reason_code, move.host, move.may_be_fulfilled
