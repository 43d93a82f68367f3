# SPDX-License-Identifier: Apache-2.0
"""What to do so that a host matches its claims: pure functions that touch nothing.

`plan` compares what is wanted with what is, `resets` says what has to be reset once that is done, and
`statuses` what became of each claim. All work on a `Snapshot` of the host.
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


@dataclasses.dataclass(frozen=True)
class Wipe:
    """Overwrite what is stored on a device.

    :param percent: from where on, for the first time.
    """

    device_id: str
    generation: int
    plug_id: str | None
    device: Device = dataclasses.field(compare=False)
    percent: int = dataclasses.field(compare=False)


def plan(host: Snapshot) -> list[Detach | Attach]:
    """What has to be done, in order: everything is taken out before anything is put in.

    A hostdev of ours that no claim wants, that is empty, or that points at an address which is another
    device by now, is taken out. One in a persistent definition always is: Nova writes the definition,
    and a device that is gone would keep the domain from starting.
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
    """What has to be reset before it can be given to another server, after the plan was carried out.

    :param done: ids of the devices that were, since the server gave them back.
    """
    return [
        Reset(claim.device_id, device)
        for claim in host.claims.values()
        if claim.device_id not in done and (device := _to_reset(host, claim)) is not None
    ]


def wipes(host: Snapshot) -> list[Wipe]:
    """What is to be wiped: nobody has it, and the host does not use it."""
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
    """What became of each claim, after the plan was carried out.

    :param refusals: device id -> why the hypervisor refused.
    :param resets: device id -> what became of its reset.
    :param wipes: device id -> how many per cent are wiped, and why not more.
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
    """Is this live hostdev what its claim wants, and is it really there?"""
    claim = host.claims.get(hostdev.device_id or "")
    if claim is None or claim.server_id != domain.uuid or _obstacle(host, claim) is not None:
        return False
    device = host.device_of(claim)
    return device is not None and hostdev.holds(device)


def _obstacle(host: Snapshot, claim: Claim) -> tuple[State, Reason] | None:
    """Why a claim with a server cannot be fulfilled now, None if it can."""
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
    """What stands in the place of a claim's device, which is not plugged in."""
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
    """The device that a server gave back, once no domain has it. One that is unplugged needs no reset."""
    device = host.device_of(claim)
    if not claim.ending or device is None or claim.device_id in host.present:
        return None
    return None if host.is_held(device) else device
