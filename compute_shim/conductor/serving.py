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
from compute_shim.db import channels, intent, moves, queue, usage
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
        self._unlocated = BackOff(_INTERVAL)
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
        up = self._window()
        pending = {_key(move): move for move in moves.pending(self._db, up)}
        self._unconfirmed.keep(pending.keys())
        for key, move in pending.items():
            if self._unconfirmed.is_due(key) and not self._follow(move, up):
                self._unconfirmed.no_news(key)
                # Nova may not answer, and those in line wait.
                break
        location = _Location(self._is_on, self._unlocated)
        for device_id in queue.idle(self._db, up):
            entry = queue.serve(self._db, device_id, up, self._caps_of, location.is_on)
            if entry is not None:
                LOG.info("Server %s gets device %s: next in line", entry.server_id, device_id)
                metrics.queue_wait_seconds.observe((timeutils.utcnow() - entry.created_at).total_seconds())
                self._nudger.nudge(device_id, {"request_id": entry.request_id})
        self._unlocated.keep(location.asked)

    def _follow(self, move: moves.Move, up: Window) -> bool:
        """Give a server that has moved a device of the kind that it claimed where it is now.

        :returns: False if Nova does not confirm that it has
        """
        claim = move.claim
        device_id = None
        if move.may_be_replaced or move.may_be_carried:
            if not self._is_on(claim.instance_uuid or "", move.host):
                return False
            device_id = self._fulfil(move, up)
        if device_id is None:
            if claim.reason_code != ReasonCode.KIND_NOT_FREE:
                intent.wait_for_server(self._db, claim, ReasonCode.KIND_NOT_FREE)
            return True
        LOG.info(
            "Server %s is on host %s: it has device %s of kind %s there, and had %s",
            claim.instance_uuid,
            move.host,
            device_id,
            claim.claimed_kind,
            claim.id,
        )
        for changed in dict.fromkeys((device_id, claim.id)):
            self._nudger.nudge(changed, {})
        return True

    def _fulfil(self, move: moves.Move, up: Window) -> str | None:
        """Fulfil a claim where its server is: by a device there, else over the network, where it may be.

        Over the network the device that the server has comes first: it has what the server put on it.

        :returns: the id of the device, None if there is none
        """
        claim, device_id = move.claim, None
        if claim.host != move.host:
            device_id = intent.replace(self._db, claim, move.host)
        if device_id is None and move.may_be_carried and channels.follow(self._db, claim, move.host):
            return claim.id
        if device_id is None and claim.claimed_transport is not None:
            device_id = intent.replace(self._db, claim, move.host, up)
        return device_id

    def _caps_of(self, project_id: str) -> usage.Caps:
        known = self._caps.get(project_id)
        if known is None or time.monotonic() >= known[1]:
            caps = usage.Caps(self._limits(project_id), self._per_server)
            known = self._caps[project_id] = caps, time.monotonic() + _FRESH
        return known[0]


class _Location:
    """What Nova says of where queued servers are, during one pass.

    :param unconfirmed: what it did not confirm before.
    :ivar asked: what there was to ask.
    """

    def __init__(self, is_on: Callable[[str, str], bool], unconfirmed: BackOff) -> None:
        self._is_on = is_on
        self._unconfirmed = unconfirmed
        self._may_answer = True
        self.asked: set[Hashable] = set()

    def is_on(self, server_id: str, host: str) -> bool:
        """Whether Nova confirms that a server is on a host.

        After what it does not confirm it is not asked again in this pass: it may not answer, and others in
        line wait.
        """
        key = server_id, host
        self.asked.add(key)
        if not self._may_answer or not self._unconfirmed.is_due(key):
            return False
        self._may_answer = self._is_on(server_id, host)
        if not self._may_answer:
            self._unconfirmed.no_news(key)
        return self._may_answer


def _key(move: moves.Move) -> Hashable:
    return (
        move.claim.id,
        move.claim.generation,
        move.claim.reason_code,
        move.host,
        move.may_be_replaced,
        move.may_be_carried,
    )
