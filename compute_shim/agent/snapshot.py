# SPDX-License-Identifier: Apache-2.0
"""The input of the planner: claims, plugged devices and domains of one host, indexed."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from compute_shim.hypervisor.base import Domain
from compute_shim.objects import Claim, Device


class Snapshot:
    """The state of a host. Immutable.

    :ivar claims: device id -> claim.
    :ivar devices: all that are plugged in and known or offered.
    :ivar domains: UUID -> domain.
    :ivar present: ids of our devices that are in some domain, or in its definition.
    """

    def __init__(
        self, claims: Iterable[Claim], devices: Collection[Device], domains: Iterable[Domain]
    ) -> None:
        self.claims = {claim.device_id: claim for claim in claims}
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
        return Snapshot(self.claims.values(), self.devices, now.values())

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
