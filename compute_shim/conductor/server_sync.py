# SPDX-License-Identifier: Apache-2.0
"""Update the claims of servers that are not on the host of their device.

Nova does not tell us of servers that are deleted, moved or shelved. What such a server leaves behind on a
host is a claim that waits, or of which a dead agent cannot speak. Only those are looked into, so that a cloud
at rest asks Nova nothing. A claim is released only when its server is proven to be gone, in two passes
(`compute_shim.conductor.decision`); in doubt it waits.
"""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence

from oslo_context import context as oslo_context
from oslo_log import log
from oslo_utils import timeutils

from compute_shim.conductor import metrics
from compute_shim.conductor.backoff import BackOff
from compute_shim.conductor.decision import Claim, Decision, Locate, Release, decide
from compute_shim.conductor.evidence import Witnesses
from compute_shim.db import absence, channels, intent, models
from compute_shim.db.api import Database
from compute_shim.db.events import Actor
from compute_shim.db.leases import Lease
from compute_shim.liveness import Window
from compute_shim.nudger import Nudger

LOG = log.getLogger(__name__)

#: A pass that would release more than this many claims, and more than this share of all, releases none.
BRAKE_COUNT = 10
BRAKE_SHARE = 1 / 10


class _LeaseLost(Exception):
    """Another conductor is the leader now."""


class ServerSync:
    """Makes one pass per call, if this conductor is the leader.

    :param window: tells which agents are up now.
    :param obstacle: tells why no claim may be released now, None if release is allowed.
    :param interval: seconds between two passes, and for which a claim must have stood still to be looked
        into.
    """

    def __init__(
        self,
        db: Database,
        witnesses: Witnesses,
        nudger: Nudger,
        lease: Lease,
        window: Callable[[], Window],
        obstacle: Callable[[], str | None],
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._witnesses = witnesses
        self._nudger = nudger
        self._lease = lease
        self._window = window
        self._obstacle = obstacle
        self._interval = datetime.timedelta(seconds=interval)
        self._clock = clock
        self._back_off = BackOff(interval, clock)
        # Device id -> generation, and when we proved it first. The database has the same by the clock on the
        # wall, which may be set forward.
        self._proofs: dict[str, tuple[int, float]] = {}
        self._told: str | None = None
        self._held = False
        self._leading = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        """Stop the current pass and let another conductor take over."""
        with self._leading:
            self._stopped = True
            self._lease.release()

    def __call__(self) -> None:
        if not self._leads():
            self._proofs.clear()
            return
        try:
            self._pass()
        except _LeaseLost:
            LOG.warning("Another conductor does this now: no further look for absent servers")
            self._proofs.clear()

    def _pass(self) -> None:
        started, up = self._clock(), self._window()
        obstacle = self._say_obstacle()
        claims = absence.in_doubt(self._db, up, self._interval)
        keys = {claim.id: _key(claim) for claim in claims}
        self._back_off.keep(set(keys.values()))
        due = [claim for claim in claims if self._back_off.is_due(keys[claim.id])]
        elsewhere = channels.server_hosts(self._db, [claim.id for claim in due])
        evidence = self._witnesses.evidence(due, up, self._stay_leader, elsewhere)
        decisions = {
            claim.id: decide(
                Claim(elsewhere.get(claim.id, claim.host), claim.reason_code), evidence[claim.id]
            )
            for claim in due
        }
        gone = [claim for claim in due if isinstance(decisions[claim.id], Release)]
        ripe = self._prove(claims, gone, started)
        for claim in due:
            self._note(keys[claim.id], decisions[claim.id])
        self._locate(due, decisions)
        if obstacle is None and not self._brakes(ripe):
            self._release(ripe, up)

    def _note(self, key: Hashable, decision: Decision) -> None:
        if isinstance(decision, Release):
            self._back_off.news(key)
        else:
            self._back_off.no_news(key)

    def _prove(
        self, claims: Sequence[models.Device], gone: Sequence[models.Device], started: float
    ) -> list[models.Device]:
        """Remember which servers are gone now; return the claims of those that were in a pass before, too."""
        before, self._proofs = self._proofs, {}
        proven = {claim.id for claim in gone}
        for claim in claims:
            if claim.id not in proven and claim.absent_seen is not None:
                self._stay_leader()
                absence.remember(self._db, claim, None)
        ripe = []
        now = timeutils.utcnow()
        for claim in gone:
            generation, first = before.get(claim.id, (claim.generation, started))
            first = first if generation == claim.generation else started
            self._proofs[claim.id] = (claim.generation, first)
            # What is in the future is from before the clock was set back.
            kept = absence.seen_since(claim, now)
            self._stay_leader()
            absence.remember(self._db, claim, claim.absent_since if kept else now)
            long_enough = started - first >= self._interval.total_seconds()
            if long_enough and absence.seen_since(claim, now - self._interval):
                ripe.append(claim)
        return ripe

    def _locate(self, claims: Sequence[models.Device], decisions: Mapping[str, Decision]) -> None:
        for claim in claims:
            decision = decisions[claim.id]
            if isinstance(decision, Locate):
                self._stay_leader()
                intent.wait_for_server(self._db, claim, decision.code)

    def _release(self, claims: Sequence[models.Device], up: Window) -> None:
        for claim in claims:
            self._stay_leader()
            request_id = oslo_context.generate_request_id()
            if absence.release(self._db, claim, up, Actor(None, request_id)):
                LOG.info(
                    "Server %s is deleted: giving back device %s [%s]",
                    claim.instance_uuid,
                    claim.id,
                    request_id,
                )
                metrics.releases.inc()
                self._nudger.nudge(claim.id, {"request_id": request_id})

    def _say_obstacle(self) -> str | None:
        """Why no claim may be released in this pass; logged once."""
        obstacle = self._obstacle()
        if obstacle is not None and obstacle != self._told:
            LOG.error("Devices of deleted servers are not given back: %s", obstacle)
        self._told = obstacle
        return obstacle

    def _brakes(self, claims: Sequence[models.Device]) -> bool:
        total = absence.count_claims(self._db) if len(claims) > BRAKE_COUNT else 0
        if len(claims) <= max(BRAKE_COUNT, BRAKE_SHARE * total):
            self._held = False
            return False
        text = (
            f"The servers of {len(claims)} of {total} claims on USB devices seem to be deleted. So many at"
            " once may be a mistake: none is released. If they are deleted, run: usb-shim-manage claims"
            " release-absent"
        )
        LOG.error("%s", text)
        metrics.brakes.inc()
        if not self._held:
            absence.record_held(self._db, text)
        self._held = True
        return True

    def _stay_leader(self) -> None:
        """Renew the lease, because a pass may take longer than it lasts."""
        if not self._leads():
            raise _LeaseLost

    def _leads(self) -> bool:
        with self._leading:
            return not self._stopped and self._lease.acquire()


def _key(claim: models.Device) -> tuple[str, int, str, str | None]:
    return claim.id, claim.generation, claim.state, claim.reason_code
