# SPDX-License-Identifier: Apache-2.0
"""The input of the planner: claims, plugged devices, domains and relays of one host, indexed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from compute_shim.agent.relays import Running
from compute_shim.hypervisor.base import Domain
from compute_shim.objects import Claim, Device

_NO_RELAYS: Mapping[str, Running] = {}


class Snapshot:
    """The state of a host. Immutable.

    :ivar claims: device id -> claim on a device of the host.
    :ivar carried: device id -> claim on a device of another host, for a server on this one.
    :ivar relays: device id -> relay that runs.
    :ivar devices: all that are plugged in and known or offered.
    :ivar domains: UUID -> domain.
    :ivar present: ids of our devices that are in some domain, or in its definition.
    """

    def __init__(
        self,
        claims: Iterable[Claim],
        devices: Collection[Device],
        domains: Iterable[Domain],
        relays: Mapping[str, Running] = _NO_RELAYS,
    ) -> None:
        known = list(claims)
        self.claims = {claim.device_id: claim for claim in known if claim.address is None}
        self.carried = {claim.device_id: claim for claim in known if claim.address is not None}
        self.relays = relays
        self.devices = devices
        self.domains = {domain.uuid: domain for domain in domains}
        self._by_id = {device.device_id: device for device in devices if device.device_id is not None}
        self._by_port = {device.port: device for device in devices}
        self._by_socket = {device.socket: device for device in devices if device.socket is not None}
        held = [hostdev for domain in self.domains.values() for hostdev in domain.live if not hostdev.missing]
        self._held = {hostdev.address for hostdev in held}
        self._held_by_hand = {hostdev.address for hostdev in held if hostdev.device_id is None}
        self.present = {
            hostdev.device_id
            for domain in self.domains.values()
            for hostdev in domain.live + domain.config
            if hostdev.device_id is not None
        }

    def with_domains(self, domains: Iterable[Domain]) -> Snapshot:
        """A copy with other domains."""
        now = {domain.uuid: domain for domain in domains}
        if now == self.domains:
            return self
        return Snapshot(self._all_claims(), self.devices, now.values(), self.relays)

    def with_relays(self, relays: Mapping[str, Running]) -> Snapshot:
        """A copy with other relays."""
        if relays == self.relays:
            return self
        return Snapshot(self._all_claims(), self.devices, self.domains.values(), relays)

    def _all_claims(self) -> list[Claim]:
        return [*self.claims.values(), *self.carried.values()]

    def relay_of(self, claim: Claim) -> Running | None:
        """The relay of a claim, None if none runs for its generation."""
        running = self.relays.get(claim.device_id)
        if running is None or running.ending:
            return None
        wanted = running.wanted
        is_its = (wanted.generation, wanted.peer, wanted.address) == (
            claim.generation,
            claim.peer,
            claim.address,
        )
        return running if is_its else None

    def device_of(self, claim: Claim) -> Device | None:
        """The device that a claim is on, None if it is not plugged in."""
        return self._by_id.get(claim.device_id)

    def plugged_ids(self) -> set[str]:
        """The ids of the known devices that are plugged in."""
        return self.claims.keys() & self._by_id.keys()

    def in_place_of(self, claim: Claim) -> Device | None:
        """The device in the last place of a claim's device, None if there is none."""
        if claim.socket is not None:
            return self._by_socket.get(claim.socket)
        return self._by_port.get(claim.port)

    def is_held(self, device: Device) -> bool:
        """Whether some domain has the device."""
        return (device.bus, device.device) in self._held

    def is_held_by_hand(self, device: Device) -> bool:
        """Whether an administrator attached the device to a domain manually."""
        return (device.bus, device.device) in self._held_by_hand
