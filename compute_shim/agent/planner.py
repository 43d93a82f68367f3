# SPDX-License-Identifier: Apache-2.0
"""Computes the actions that make a host match its claims. Pure functions.

`plan` compares the desired with the actual state, `resets` returns the devices to reset after the plan, and
`statuses` returns the status of each claim. All work on a `Snapshot` of the host.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from compute_shim.agent.snapshot import Snapshot
from compute_shim.hypervisor.base import Domain, Hostdev
from compute_shim.objects import Claim, ClaimStatus, Device, Reason, ReasonCode, State

_NO_WIPES: Mapping[str, tuple[int, Reason]] = {}


@dataclasses.dataclass(frozen=True)
class Detach:
    """Remove one of our hostdevs from a domain."""

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
    """Attach a plugged device to a running domain."""

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


@dataclasses.dataclass(frozen=True)
class Wipe:
    """Overwrite the data on a device.

    :param percent: where to start, for the first time.
    """

    device_id: str
    generation: int
    plug_id: str | None
    device: Device = dataclasses.field(compare=False)
    percent: int = dataclasses.field(compare=False)


def plan(host: Snapshot) -> list[Detach | Attach]:
    """The actions in order: all detaches precede all attaches.

    A hostdev of ours is removed if it has no claim, is empty, or has an address that belongs to another
    device. A hostdev in a persistent definition is always removed: Nova writes the definition, and an absent
    device would prevent the domain from starting.
    """
    detaches: list[Detach | Attach] = []
    fulfilled: set[str] = set()
    for domain in host.domains.values():
        wrong = {
            hostdev.device_id
            for hostdev in domain.live
            if hostdev.device_id is not None and not _belongs(host, domain, hostdev)
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
        if _obstacle(host, claim) is None:
            attaches.append(Attach(claim.server_id, claim.device_id, device))
    return detaches + attaches


def resets(host: Snapshot, done: Collection[str]) -> list[Reset]:
    """The devices to reset before another server can have them, after the plan was executed.

    :param done: ids of the devices that were already reset since the server returned them.
    """
    return [
        Reset(claim.device_id, device)
        for claim in host.claims.values()
        if claim.device_id not in done and (device := _to_reset(host, claim)) is not None
    ]


def wipes(host: Snapshot) -> list[Wipe]:
    """The devices to wipe: not attached to any server and not used by the host."""
    found = []
    for claim in host.claims.values():
        device = host.device_of(claim)
        if claim.wiped is None or claim.server_id is not None or claim.ending or device is None:
            continue
        if device.blocked is None and claim.device_id not in host.present and not host.is_held(device):
            found.append(Wipe(claim.device_id, claim.generation, device.plug_id, device, percent=claim.wiped))
    return found


def statuses(
    host: Snapshot,
    refusals: Mapping[str, Reason],
    resets: Mapping[str, Reason],
    wipes: Mapping[str, tuple[int, Reason]] = _NO_WIPES,
) -> list[ClaimStatus]:
    """The status of each claim after the plan was executed.

    :param refusals: device id -> reason why the hypervisor refused.
    :param resets: device id -> result of its reset.
    :param wipes: device id -> progress of its wipe.
    """
    fulfilled = {
        hostdev.device_id
        for domain in host.domains.values()
        for hostdev in domain.live
        if hostdev.device_id and _belongs(host, domain, hostdev)
    }

    def status(claim: Claim) -> tuple[State, Reason | None]:
        refusal = refusals.get(claim.device_id)
        if claim.server_id is None:
            if claim.device_id in host.present:
                return State.DETACHING, refusal
            if claim.device_id not in resets and _to_reset(host, claim) is not None:
                return State.DETACHING, None
            return State.AVAILABLE, resets.get(claim.device_id)
        if claim.device_id in fulfilled:
            return State.ATTACHED, None
        if refusal is not None and refusal.code in (ReasonCode.SERVER_BUSY, ReasonCode.WIPING):
            return State.WAITING, refusal
        return _obstacle(host, claim) or (State.FAILED, refusal or Reason(ReasonCode.HYPERVISOR_ERROR))

    return [
        _wiped(claim, *wipes[claim.device_id])
        if claim.wiped is not None and claim.device_id in wipes
        else ClaimStatus.of(claim, *status(claim))
        for claim in host.claims.values()
    ]


def _wiped(claim: Claim, percent: int, why: Reason) -> ClaimStatus:
    state = State.AVAILABLE if why.code == ReasonCode.WIPED else State.UNAVAILABLE
    return dataclasses.replace(ClaimStatus.of(claim, state, why), wiped=percent)


def _belongs(host: Snapshot, domain: Domain, hostdev: Hostdev) -> bool:
    """Whether this live hostdev matches its claim and is attached."""
    claim = host.claims.get(hostdev.device_id or "")
    if claim is None or claim.server_id != domain.uuid or _obstacle(host, claim) is not None:
        return False
    device = host.device_of(claim)
    return device is not None and hostdev.holds(device)


def _obstacle(host: Snapshot, claim: Claim) -> tuple[State, Reason] | None:
    """The reason why a claim with a server cannot be fulfilled, None if it can."""
    domain = host.domains.get(claim.server_id or "")
    device = host.device_of(claim)
    if domain is None:
        return State.WAITING, Reason(ReasonCode.DOMAIN_ABSENT)
    if not domain.running:
        return State.WAITING, Reason(ReasonCode.SERVER_OFF)
    if device is None:
        return _absence(host, claim)
    if device.blocked is not None:
        in_doubt = device.blocked.code == ReasonCode.IDENTITY_IN_DOUBT
        return State.WAITING if in_doubt else State.FAILED, device.blocked
    if host.is_held_by_hand(device):
        return State.FAILED, Reason(ReasonCode.ATTACHED_MANUALLY)
    return None


def _absence(host: Snapshot, claim: Claim) -> tuple[State, Reason]:
    """The reason for a claim whose device is not plugged in, by what is in its place."""
    intruder = host.in_place_of(claim)
    if intruder is None:
        return State.WAITING, Reason(ReasonCode.UNPLUGGED)
    expected, serial = _known_as(claim)
    found = f"{intruder.vendor_id}:{intruder.product_id}"
    if serial:
        # The serial of a stranger is nobody's business.
        expected += f" {serial}"
        found += f" with {'the same' if intruder.serial.strip() == serial else 'another'} serial number"
    text = f"another device is in port {intruder.port} (expected {expected}, found {found})"
    return State.FAILED, Reason(ReasonCode.PORT_OCCUPIED, text)


def _known_as(claim: Claim) -> tuple[str, str]:
    """``vid:pid`` and serial number of a claim's device, as far as they are known."""
    if claim.vendor_id is not None:
        return f"{claim.vendor_id}:{claim.product_id}", (claim.serial or "").strip()
    # A conductor of RPC 1.1 tells vid:pid:serial or vid:pid@port.
    serial = claim.identity[9:]
    return claim.identity[:9], serial[1:] if serial.startswith(":") else ""


def _to_reset(host: Snapshot, claim: Claim) -> Device | None:
    """The device that a server returned, once no domain has it. An unplugged device needs no reset."""
    device = host.device_of(claim)
    if not claim.ending or device is None or claim.device_id in host.present:
        return None
    return None if host.is_held(device) else device
