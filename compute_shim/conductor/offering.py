# SPDX-License-Identifier: Apache-2.0
"""Keep the resource providers of hosts in Placement as the database has their devices."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

from oslo_log import log

from compute_shim import exception, placement
from compute_shim.conductor.backoff import BackOff
from compute_shim.db.allocations import Offer
from compute_shim.placement import MARK, Allocations, Inventories, Inventory, Placement, Provider

LOG = log.getLogger(__name__)

# How often a change is tried that somebody else's change of the provider gets in the way of.
_TRIES = 4
# Seconds between two attempts to create a provider that could not be created.
_PAUSE = 60

#: Kind -> what is offered of it.
Offers = Mapping[str, Offer]


@dataclasses.dataclass(frozen=True)
class _Known:
    """A provider as we have read or written it last."""

    generation: int
    inventories: Inventories
    traits: frozenset[str]


class Offering:
    """Writes to Placement what differs, and remembers it as long as the provider's generation is the same.

    :param compute_nodes: tells the UUID of the compute node of each host.
    """

    def __init__(
        self,
        placement_: Placement,
        compute_nodes: Callable[[], Mapping[str, str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._placement = placement_
        self._compute_nodes = compute_nodes
        self._back_off = BackOff(_PAUSE, clock)
        self._known: dict[str, _Known] = {}
        # Resource classes and traits that are there.
        self._created: set[str] = set()

    def providers(self, hosts: Sequence[str]) -> list[Provider]:
        """Our providers; those of hosts that have none are created, as far as it is possible.

        :param hosts: which have something to offer.
        :raises compute_shim.placement.Failure: Placement does not answer
        """
        self._create_trait(MARK)
        found = self._placement.providers()
        self._known = {it.uuid: self._known[it.uuid] for it in found if it.uuid in self._known}
        there = {it.name for it in found}
        missing = [host for host in hosts if placement.provider_name(host) not in there]
        due = [host for host in missing if self._back_off.is_due(host)]
        nodes = self._nodes() if due else {}
        for host in due:
            if host in nodes:
                created = self._create(host, nodes[host])
            else:
                LOG.warning("Nova has no compute node of host %s: its USB devices are not offered", host)
                created = None
            if created is None:
                self._back_off.no_news(host)
            else:
                found.append(created)
        return found

    def _nodes(self) -> Mapping[str, str]:
        try:
            return self._compute_nodes()
        except exception.ApiError as error:
            LOG.warning("Nova does not tell its compute nodes: %s", error)
            return {}

    def _create(self, host: str, node: str) -> Provider | None:
        """The provider of a host, new or as it was left without its trait; None if Placement refuses."""
        name = placement.provider_name(host)
        try:
            provider = self._placement.create_provider(name, node)
        except placement.Refused as error:
            there = self._placement.providers(name)
            if not there or there[0].parent != node:
                LOG.error("The resource provider %s cannot be created: %s", name, error)
                return None
            provider = there[0]
        generation = self._placement.set_traits(provider.uuid, provider.generation, {MARK})
        LOG.info("The USB devices of host %s are offered by the resource provider %s", host, name)
        return dataclasses.replace(provider, generation=generation)

    def update(self, provider: Provider, offers: Offers, allocations: Allocations) -> None:
        """Write what a provider has to offer; what somebody else prevents is left to the next pass.

        :param allocations: what is allocated from it.
        """
        wanted = _inventories(offers)
        traits = {MARK, *(trait for offer in offers.values() for trait in _traits(offer))}
        for _ in range(_TRIES):
            known = self._read(provider)
            # A class cannot be removed while something of it is allocated.
            left = {
                name: Inventory(used, used)
                for name in known.inventories.keys() - wanted.keys()
                if (used := sum(one.get(name, 0) for one in allocations.values()))
            }
            try:
                self._write(provider, known, {**wanted, **left}, frozenset(traits))
                return
            except placement.Conflict as error:
                LOG.debug("Reading resource provider %s again: %s", provider.name, error)
                self._known.pop(provider.uuid, None)
            except placement.Refused as error:
                LOG.error("The resource provider %s cannot be updated: %s", provider.name, error)
                # Somebody may have deleted a class or a trait: the next pass creates them again.
                self._created.clear()
                return
        LOG.warning("Others change the resource provider %s all the time; trying later", provider.name)

    def remove(self, provider: Provider) -> None:
        """Delete the provider of a host that is gone, unless something of it is allocated."""
        try:
            self._placement.delete_provider(provider.uuid)
        except placement.Conflict:
            return
        LOG.info("The resource provider %s is deleted: its host is gone", provider.name)

    def _read(self, provider: Provider) -> _Known:
        known = self._known.get(provider.uuid)
        if known is None or known.generation != provider.generation:
            generation, inventories = self._placement.inventories(provider.uuid)
            known = _Known(generation, inventories, frozenset(self._placement.traits(provider.uuid)))
        return known

    def _write(
        self, provider: Provider, known: _Known, inventories: Inventories, traits: frozenset[str]
    ) -> None:
        generation = known.generation
        if inventories != known.inventories:
            for name in inventories:
                if name not in self._created:
                    self._placement.create_class(name)
                    self._created.add(name)
            generation = self._placement.set_inventories(provider.uuid, generation, inventories)
        if traits != known.traits:
            for name in traits:
                self._create_trait(name)
            generation = self._placement.set_traits(provider.uuid, generation, traits)
        self._known[provider.uuid] = _Known(generation, inventories, traits)

    def _create_trait(self, name: str) -> None:
        if name not in self._created:
            self._placement.create_trait(name)
            self._created.add(name)


def _inventories(offers: Offers) -> dict[str, Inventory]:
    """By resource class, which may be that of several kinds (``a-b`` and ``a_b``)."""
    found: dict[str, Inventory] = {}
    for kind, offer in offers.items():
        name = placement.resource_class(kind)
        other = found.get(name, Inventory(0, 0))
        found[name] = Inventory(other.total + offer.total, other.reserved + offer.reserved)
    return found


def _traits(offer: Offer) -> list[str]:
    """What a flavor may require: the models of the devices that are offered."""
    return [placement.model_trait(model) for model in offer.models]
