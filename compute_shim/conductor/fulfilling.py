# SPDX-License-Identifier: Apache-2.0
"""Claim devices for servers to which Nova has allocated them, and release them when the allocation ends.

A consumer that Nova does not show as a server is taken for a migration, which keeps the resources of the host
that a server leaves until the move is confirmed or reverted: nothing is claimed for it, and nothing released
that it may stand for. A server that is evacuated has allocations on two hosts, each for all its devices, so
the number of its devices is that of one host. Its claims move to the new host as those of kinds do
(`compute_shim.db.moves`).
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Hashable, Mapping, Sequence

from keystoneauth1 import plugin as ks_plugin
from oslo_context import context as oslo_context
from oslo_log import log

from compute_shim import exception, nova, placement
from compute_shim.conductor import metrics
from compute_shim.conductor.backoff import BackOff
from compute_shim.conductor.offering import Offers
from compute_shim.db import allocations as db_allocations
from compute_shim.db import models
from compute_shim.db.api import Database
from compute_shim.db.events import Actor
from compute_shim.nudger import Nudger
from compute_shim.placement import Allocations, Placement, Provider

LOG = log.getLogger(__name__)

# Seconds after the first of several attempts for one consumer.
_PAUSE = 5

#: A server, or what may be one, and a resource class.
Demand = tuple[str, str]


class Fulfilling:
    """Compares allocations with claims.

    :param auth: credentials for Nova that may see the servers of all projects.
    :param stay_leader: is called before each change; may raise.
    """

    def __init__(
        self,
        db: Database,
        placement_: Placement,
        nova_: nova.Nova,
        auth: ks_plugin.BaseAuthPlugin,
        nudger: Nudger,
        stay_leader: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._placement = placement_
        self._nova = nova_
        self._auth = auth
        self._nudger = nudger
        self._stay_leader = stay_leader
        self._claims = BackOff(_PAUSE, clock)
        self._releases = BackOff(_PAUSE, clock)
        self._unfulfilled: set[Demand] = set()

    def __call__(
        self,
        allocated: Mapping[Provider, Allocations],
        offers: Mapping[str, Offers],
        claims: Sequence[models.Device],
    ) -> None:
        """Make claims of the allocations.

        :param offers: by host.
        :param claims: those from allocations.
        """
        demands, held = _demands(allocated), _by_demand(claims)
        self._claim(demands, held, offers)
        providers = {provider.host: provider for provider in allocated}
        self._releases.keep({_key(claim) for claim in claims})
        for demand, own in held.items():
            hosts = demands.get(demand, {})
            excess = len(own) - max(hosts.values(), default=0)
            for claim in _least_wanted(own, hosts)[: max(0, excess)]:
                if self._releases.is_due(_key(claim)):
                    self._releases.no_news(_key(claim))
                    if self._release(claim, demand, own, providers):
                        own.remove(claim)

    def _claim(
        self,
        demands: Mapping[Demand, Mapping[str, int]],
        held: Mapping[Demand, Sequence[models.Device]],
        offers: Mapping[str, Offers],
    ) -> None:
        lacking = {
            demand: hosts
            for demand, hosts in demands.items()
            if len(held.get(demand, ())) < max(hosts.values())
        }
        keys = {demand: (demand, *_free(demand[1], hosts, offers)) for demand, hosts in lacking.items()}
        self._claims.keep(set(keys.values()))
        self._unfulfilled &= lacking.keys()
        for demand, hosts in lacking.items():
            if not self._claims.is_due(keys[demand]):
                continue
            self._claims.no_news(keys[demand])
            server = self._server(demand[0])
            if server is not None:
                self._claim_for(server, demand, len(held.get(demand, ())), hosts, offers)
        metrics.unfulfilled_allocations.set(len(self._unfulfilled))

    def _claim_for(
        self,
        server: nova.Server,
        demand: Demand,
        number: int,
        hosts: Mapping[str, int],
        offers: Mapping[str, Offers],
    ) -> None:
        """Claim as many devices as a server lacks, on the host where it is, or else will be.

        :param number: so many it has.
        """
        here = [host for host in hosts if nova.host_id(server.project_id, host) == server.host_id]
        host = here[0] if here else max(hosts, key=lambda name: hosts[name])
        kinds = [kind for kind in offers.get(host, {}) if placement.resource_class(kind) == demand[1]]
        request_id = oslo_context.generate_request_id()
        actor = Actor(server.user_id or None, request_id, server.project_id)
        while number < hosts[host]:
            self._stay_leader()
            device_id = db_allocations.claim(self._db, server, host, kinds, hosts[host], actor)
            if device_id is None:
                break
            LOG.info("Server %s gets device %s, as Nova has allocated it", server.id, device_id)
            self._nudger.nudge(device_id, {"request_id": request_id})
            number += 1
        if number >= hosts[host]:
            self._unfulfilled.discard(demand)
        elif demand not in self._unfulfilled:
            self._unfulfilled.add(demand)
            text = (
                f"Nova has allocated {hosts[host]} {demand[1]} of host {host} to server {server.id}, and no"
                " device is free that is shared with its project and fits its USB ports"
            )
            LOG.warning("%s", text)
            db_allocations.record_unfulfilled(self._db, host, text)

    def _release(
        self,
        claim: models.Device,
        demand: Demand,
        own: Sequence[models.Device],
        providers: Mapping[str, Provider],
    ) -> bool:
        """Release a claim whose server has no allocation for it any more, if nothing else explains that.

        What was read before may be of different moments, so Placement is asked again.

        :param own: all claims of the demand.
        :returns: whether it is released
        """
        server_id, name = demand
        if max((one.get(name, 0) for one in self._placement.allocated_to(server_id)), default=0) >= len(own):
            return False
        provider = providers.get(claim.host)
        there = {} if provider is None else self._placement.allocations(provider.uuid)
        others = {consumer for consumer, classes in there.items() if classes.get(name)} - {server_id}
        on_host = sum(other.host == claim.host for other in own)
        if there.get(server_id, {}).get(name, 0) >= on_host or any(self._server(it) is None for it in others):
            return False
        self._stay_leader()
        if not db_allocations.release(self._db, claim):
            return False
        LOG.info("Server %s has no allocation any more: giving back device %s", server_id, claim.id)
        self._nudger.nudge(claim.id, {})
        return True

    def _server(self, consumer: str) -> nova.Server | None:
        """The server that a consumer is; None if Nova does not show one, or cannot tell."""
        try:
            return self._nova.server(self._auth, consumer)
        except exception.ApiError as error:
            LOG.debug("The consumer %s is taken for a migration: %s", consumer, error)
            return None


def _demands(allocated: Mapping[Provider, Allocations]) -> dict[Demand, dict[str, int]]:
    """Consumer and resource class -> host -> how many."""
    found: dict[Demand, dict[str, int]] = collections.defaultdict(dict)
    for provider, allocations in allocated.items():
        for consumer, classes in allocations.items():
            for name, number in classes.items():
                if name.startswith(placement.PREFIX):
                    found[consumer, name][provider.host] = number
    return found


def _by_demand(claims: Sequence[models.Device]) -> dict[Demand, list[models.Device]]:
    found: dict[Demand, list[models.Device]] = collections.defaultdict(list)
    for claim in claims:
        name = placement.resource_class(claim.claimed_kind or "")
        found[claim.instance_uuid or "", name].append(claim)
    return found


def _key(claim: models.Device) -> Hashable:
    return claim.id, claim.generation, claim.state, claim.reason_code


def _least_wanted(claims: Sequence[models.Device], hosts: Mapping[str, int]) -> list[models.Device]:
    """Claims in the order in which they are to be released: first those where nothing is allocated."""
    return sorted(claims, key=lambda claim: claim.host in hosts)


def _free(name: str, hosts: Mapping[str, int], offers: Mapping[str, Offers]) -> list[int]:
    """How many devices of a class are free on some hosts."""
    return [
        sum(
            offer.free
            for kind, offer in offers.get(host, {}).items()
            if placement.resource_class(kind) == name
        )
        for host in sorted(hosts)
    ]
