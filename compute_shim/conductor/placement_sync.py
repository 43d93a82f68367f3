# SPDX-License-Identifier: Apache-2.0
"""Offer devices to Nova's scheduler, by Placement, and give servers what it has allocated to them.

A pass costs one call of Placement as long as nothing changes, and one more now and then for each host of
which something is allocated: Placement does not tell of an allocation that ends.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Hashable, Mapping, Sequence

from keystoneauth1 import plugin as ks_plugin
from oslo_log import log

from compute_shim import nova
from compute_shim.conductor import metrics
from compute_shim.conductor.backoff import BackOff
from compute_shim.conductor.fulfilling import Fulfilling
from compute_shim.conductor.offering import Offering
from compute_shim.db import allocations as db_allocations
from compute_shim.db import models, queries
from compute_shim.db.api import Database
from compute_shim.db.leases import Lease
from compute_shim.liveness import Window
from compute_shim.nudger import Nudger
from compute_shim.placement import Allocations, Failure, Placement, Provider

LOG = log.getLogger(__name__)

#: Seconds between two passes.
INTERVAL = 5
# Seconds after which what is allocated from a provider is read again, although nothing has changed.
_PAUSE = 10


class _LeaseLost(Exception):
    """Another conductor is the leader now."""


class PlacementSync:
    """Makes one pass per call, if this conductor is the leader.

    :param auth: credentials for Nova that may see the servers of all projects.
    :param turn: of the conductors.
    :param window: tells which agents are up now.
    """

    def __init__(
        self,
        db: Database,
        placement: Placement,
        nova_: nova.Nova,
        auth: ks_plugin.BaseAuthPlugin,
        nudger: Nudger,
        turn: Lease,
        window: Callable[[], Window],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._placement = placement
        self._turn = turn
        self._window = window
        self._offering = Offering(placement, lambda: nova_.compute_nodes(auth), clock)
        self._fulfilling = Fulfilling(db, placement, nova_, auth, nudger, self._stay_leader, clock)
        self._passes = BackOff(INTERVAL, clock)
        self._reads = BackOff(_PAUSE, clock)
        # By the uuid of the provider.
        self._allocations: dict[str, tuple[Hashable, Allocations]] = {}

    def __call__(self) -> None:
        if not self._turn.acquire() or not self._passes.is_due(""):
            return
        try:
            self._pass()
        except _LeaseLost:
            LOG.warning("Another conductor does this now: no further look at Placement")
        except Failure as error:
            self._passes.no_news("")
            metrics.placement_passes.labels("failed").inc()
            LOG.warning("Placement is not up to date: %s", error)
        else:
            self._passes.news("")
            metrics.placement_passes.labels("done").inc()

    def _pass(self) -> None:
        up = self._window()
        hosts = {host.host: host.last_seen in up for host in queries.hosts(self._db)}
        offers = db_allocations.offers(self._db, {host for host, is_up in hosts.items() if is_up})
        claims = db_allocations.claims(self._db)
        providers = self._offering.providers([host for host in sorted(offers) if host in hosts])
        allocated = self._read(providers, claims)
        for provider, allocations in allocated.items():
            self._stay_leader()
            if provider.host in hosts:
                self._offering.update(provider, offers.get(provider.host, {}), allocations)
            else:
                self._offering.remove(provider)
        self._fulfilling(allocated, offers, claims)

    def _read(
        self, providers: Sequence[Provider], claims: Sequence[models.Device]
    ) -> Mapping[Provider, Allocations]:
        """What is allocated from each provider.

        A generation tells of what was allocated; that a claim has changed may be because it ended.
        """
        states = collections.defaultdict(list)
        for claim in claims:
            states[claim.host].append((claim.id, claim.generation, claim.state, claim.reason_code))
        found: dict[Provider, Allocations] = {}
        keys: dict[Provider, Hashable] = {}
        for provider in providers:
            key = keys[provider] = (provider.uuid, provider.generation, tuple(states[provider.host]))
            before, known = self._allocations.get(provider.uuid, (None, {}))
            if key == before and not (known and self._reads.is_due(key)):
                found[provider] = known
                continue
            found[provider] = self._placement.allocations(provider.uuid)
            self._reads.no_news(key)
        self._reads.keep(set(keys.values()))
        self._allocations = {it.uuid: (keys[it], allocations) for it, allocations in found.items()}
        return found

    def _stay_leader(self) -> None:
        """Renew the lease, because a pass may take longer than it lasts."""
        if not self._turn.acquire():
            raise _LeaseLost
