# SPDX-License-Identifier: Apache-2.0
"""What to do so that a host matches its claims: pure functions that touch nothing.

`plan` compares what is wanted with what is, `resets` says what has to be reset once that is done, and
`judge` what became of each claim. All look at the same three things: the claims of the host, the devices
plugged into it, and its domains.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

from compute_shim.hypervisor.base import Domain, Hostdev
from compute_shim.objects import Claim, Device, Outcome, Reason, ReasonCode, State


@dataclasses.dataclass(frozen=True)
class Detach:
    """Take one of our hostdevs out of a domain."""

    server_id: str
    device_id: str
    live: bool
    config: bool

    def __str__(self) -> str:
        where = " and ".join(
            name for name, wanted in (("the domain", self.live), ("its definition", self.config)) if wanted
        )
        return f"take device {self.device_id} out of {where} of server {self.server_id}"


@dataclasses.dataclass(frozen=True)
class Attach:
    """Give a running domain a plugged device."""

    server_id: str
    device_id: str
    device: Device

    def __str__(self) -> str:
        device = self.device
        return (
            f"attach device {self.device_id} (bus {device.bus}, device {device.device}, port {device.port},"
            f" {device.vendor_id}:{device.product_id}) to server {self.server_id}"
        )


@dataclasses.dataclass(frozen=True)
class Reset:
    """Reset a device between two owners."""

    device_id: str
    device: Device


class _Host:
    """The three things, indexed."""

    def __init__(self, claims: Iterable[Claim], devices: Iterable[Device], domains: Iterable[Domain]) -> None:
        self.claims = {claim.device_id: claim for claim in claims}
        self.domains = {domain.uuid: domain for domain in domains}
        self._devices = {device.identity: device for device in devices}
        self._ports = {device.port: device for device in self._devices.values()}
        self._first_claim: dict[str, str] = {}
        for claim in sorted(self.claims.values(), key=lambda claim: claim.device_id):
            if claim.server_id is not None:
                self._first_claim.setdefault(claim.identity, claim.device_id)
        live = [hostdev for domain in self.domains.values() for hostdev in domain.live]
        self._held = {hostdev.address for hostdev in live if not hostdev.missing}
        self._strangers = {
            hostdev.address for hostdev in live if hostdev.device_id is None and not hostdev.missing
        }
        # Our devices that are in some domain, or in its definition.
        self.present = {
            hostdev.device_id
            for domain in self.domains.values()
            for hostdev in domain.live + domain.config
            if hostdev.device_id is not None
        }

    def device_of(self, claim: Claim) -> Device | None:
        return self._devices.get(claim.identity)

    def obstacle(self, claim: Claim) -> tuple[State, Reason] | None:
        """Why a claim with a server cannot be fulfilled now, None if it can."""
        domain = self.domains.get(claim.server_id or "")
        device = self.device_of(claim)
        if domain is None:
            return State.WAITING, Reason(ReasonCode.DOMAIN_ABSENT)
        if not domain.running:
            return State.WAITING, Reason(ReasonCode.SERVER_OFF)
        if device is None:
            return self._absence(claim)
        if device.blocked is not None:
            return State.FAILED, device.blocked
        if self._first_claim[claim.identity] != claim.device_id:
            return State.FAILED, Reason(ReasonCode.DUPLICATE_CLAIM)
        if (device.bus, device.device) in self._strangers:
            return State.FAILED, Reason(ReasonCode.ATTACHED_MANUALLY)
        return None

    def _absence(self, claim: Claim) -> tuple[State, Reason]:
        intruder = self._ports.get(claim.port)
        if intruder is None:
            return State.WAITING, Reason(ReasonCode.UNPLUGGED)
        # An identity is vid:pid:serial or vid:pid@port. The serial of a stranger is nobody's business.
        expected, serial = claim.identity[:9], claim.identity[9:]
        found = f"{intruder.vendor_id}:{intruder.product_id}"
        if serial.startswith(":"):
            expected += f" {serial[1:]}"
            found += " with another serial number"
        text = f"another device is in port {claim.port} (expected {expected}, found {found})"
        return State.FAILED, Reason(ReasonCode.PORT_OCCUPIED, text)

    def to_reset(self, claim: Claim) -> Device | None:
        """The device that a server gave back, once no domain has it. One that is unplugged needs no reset."""
        device = self.device_of(claim)
        if not claim.ending or device is None or claim.device_id in self.present:
            return None
        return None if (device.bus, device.device) in self._held else device

    def belongs(self, domain: Domain, hostdev: Hostdev) -> bool:
        """Is this live hostdev what its claim wants, and is it really there?"""
        claim = self.claims.get(hostdev.device_id or "")
        if claim is None or claim.server_id != domain.uuid or self.obstacle(claim) is not None:
            return False
        device = self.device_of(claim)
        return device is not None and hostdev.holds(device)


def plan(
    claims: Iterable[Claim], devices: Iterable[Device], domains: Iterable[Domain]
) -> list[Detach | Attach]:
    """What has to be done, in order: everything is taken out before anything is put in.

    A hostdev of ours that no claim wants, that is empty, or that points at an address which is another
    device by now, is taken out. One in a persistent definition always is: Nova writes the definition,
    and a device that is gone would keep the domain from starting.
    """
    host = _Host(claims, devices, domains)
    detaches: list[Detach | Attach] = []
    fulfilled: set[str] = set()
    for domain in host.domains.values():
        wrong = {
            hostdev.device_id
            for hostdev in domain.live
            if hostdev.device_id is not None and not host.belongs(domain, hostdev)
        }
        fulfilled |= {hostdev.device_id for hostdev in domain.live if hostdev.device_id} - wrong
        defined = {hostdev.device_id for hostdev in domain.config if hostdev.device_id is not None}
        detaches += [
            Detach(domain.uuid, device_id, live=device_id in wrong, config=device_id in defined)
            for device_id in sorted(wrong | defined)
        ]
    attaches: list[Detach | Attach] = []
    for claim in host.claims.values():
        device = host.device_of(claim)
        if claim.server_id is None or device is None or claim.device_id in fulfilled:
            continue
        if host.obstacle(claim) is None:
            attaches.append(Attach(claim.server_id, claim.device_id, device))
    return detaches + attaches


def resets(
    claims: Iterable[Claim], devices: Iterable[Device], domains: Iterable[Domain], done: Collection[str]
) -> list[Reset]:
    """What has to be reset before it can be given to another server, seen after the plan was carried out.

    :param done: ids of the devices that were, since the server gave them back.
    """
    host = _Host(claims, devices, domains)
    return [
        Reset(claim.device_id, device)
        for claim in host.claims.values()
        if claim.device_id not in done and (device := host.to_reset(claim)) is not None
    ]


def judge(
    claims: Iterable[Claim],
    devices: Iterable[Device],
    domains: Iterable[Domain],
    refusals: Mapping[str, Reason],
    resets: Mapping[str, Reason],
) -> list[Outcome]:
    """What became of each claim, seen after the plan was carried out.

    :param refusals: device id -> why the hypervisor refused.
    :param resets: device id -> what became of its reset.
    """
    host = _Host(claims, devices, domains)
    fulfilled = {
        hostdev.device_id
        for domain in host.domains.values()
        for hostdev in domain.live
        if hostdev.device_id and host.belongs(domain, hostdev)
    }

    def state_of(claim: Claim) -> tuple[State, Reason | None]:
        refusal = refusals.get(claim.device_id)
        if claim.server_id is None:
            if claim.device_id in host.present:
                return State.DETACHING, refusal
            if claim.device_id not in resets and host.to_reset(claim) is not None:
                return State.DETACHING, None
            return State.AVAILABLE, resets.get(claim.device_id)
        if claim.device_id in fulfilled:
            return State.ATTACHED, None
        if refusal is not None and refusal.code == ReasonCode.SERVER_BUSY:
            return State.WAITING, refusal
        return host.obstacle(claim) or (State.FAILED, refusal or Reason(ReasonCode.HYPERVISOR_ERROR))

    return [Outcome.of(claim, *state_of(claim)) for claim in host.claims.values()]
