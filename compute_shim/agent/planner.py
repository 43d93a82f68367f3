# SPDX-License-Identifier: Apache-2.0
"""Computes the actions that make a host match its claims. Pure functions.

`relays` returns the relays that are to run, `plan` compares the desired with the actual state, `resets`
returns the devices to reset after the plan, and `statuses` returns the status of each claim. All work on a
`Snapshot` of the host.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from compute_shim.agent.relays import Wanted
from compute_shim.agent.snapshot import Snapshot
from compute_shim.hypervisor.base import Domain, Hostdev
from compute_shim.objects import Claim, ClaimStatus, Device, Reason, ReasonCode, State
from compute_shim.relay.state import State as RelayState

_NO_WIPES: Mapping[str, tuple[int, Reason]] = {}


@dataclasses.dataclass(frozen=True)
class Detach:
    """Remove one of our hostdevs or channels from a domain."""

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
class AttachChannel:
    """Connect a running domain to the relay of a device of another host."""

    server_id: str
    device_id: str

    def __str__(self) -> str:
        return f"connect server {self.server_id} to device {self.device_id} of another host"


#: What is executed on the hypervisor.
Action = Detach | Attach | AttachChannel


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


def relays(host: Snapshot) -> list[Wanted]:
    """The relays that are to run: of devices for servers elsewhere, and of servers for devices elsewhere."""
    found = []
    for claim in host.claims.values():
        device = host.device_of(claim)
        if (
            claim.server_id is None
            or not claim.peer
            or device is None
            or _unservable(host, claim) is not None
        ):
            continue
        if claim.device_id not in host.present and not host.is_held(device):
            found.append(Wanted(claim.device_id, claim.generation, claim.peer, device=device))
    for claim in host.carried.values():
        domain = host.domains.get(claim.server_id or "")
        if domain is not None and domain.running and claim.peer and claim.address:
            found.append(Wanted(claim.device_id, claim.generation, claim.peer, claim.address))
    return found


def plan(host: Snapshot) -> list[Action]:
    """The actions in order: all detaches precede all attaches.

    A hostdev of ours is removed if it has no claim, is empty, or has an address that belongs to another
    device. A hostdev in a persistent definition is always removed: Nova writes the definition, and an absent
    device would prevent the domain from starting. A channel is removed if it has no claim, or no connection:
    it does not connect again.
    """
    detaches: list[Action] = []
    fulfilled: set[str] = set()
    for domain in host.domains.values():
        wrong = {
            hostdev.device_id
            for hostdev in domain.live
            if hostdev.device_id is not None and not _belongs(host, domain, hostdev)
        }
        fulfilled |= {hostdev.device_id for hostdev in domain.live if hostdev.device_id} - wrong
        wrong |= {device_id for device_id in domain.channels if not _is_connected(host, domain, device_id)}
        defined = {hostdev.device_id for hostdev in domain.config if hostdev.device_id is not None}
        detaches += [
            Detach(domain.uuid, device_id, live=device_id in wrong, config=device_id in defined)
            for device_id in sorted(wrong | defined)
        ]
    attaches: list[Action] = []
    for claim in host.claims.values():
        device = host.device_of(claim)
        if claim.server_id is None or device is None or claim.device_id in fulfilled:
            continue
        # A relay that still has the device is about to end.
        if _obstacle(host, claim) is None and claim.device_id not in host.relays:
            attaches.append(Attach(claim.server_id, claim.device_id, device))
    for claim in host.carried.values():
        relay, target = host.relay_of(claim), host.domains.get(claim.server_id or "")
        if relay is None or target is None or not target.running or relay.state != RelayState.LISTENING:
            continue
        if claim.device_id not in target.channels or not _is_connected(host, target, claim.device_id):
            attaches.append(AttachChannel(target.uuid, claim.device_id))
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
        if device.blocked is None and not _is_in_use(host, claim.device_id, device):
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
            if claim.device_id in host.present or claim.device_id in host.relays:
                return State.DETACHING, refusal
            if claim.device_id not in resets and _to_reset(host, claim) is not None:
                return State.DETACHING, None
            return State.AVAILABLE, resets.get(claim.device_id)
        if claim.device_id in fulfilled:
            return State.ATTACHED, None
        if refusal is not None and refusal.code in (ReasonCode.SERVER_BUSY, ReasonCode.WIPING):
            return State.WAITING, refusal
        return _obstacle(host, claim) or (State.FAILED, refusal or Reason(ReasonCode.HYPERVISOR_ERROR))

    found = []
    for claim in host.claims.values():
        if claim.wiped is not None and claim.device_id in wipes:
            found.append(_wiped(claim, *wipes[claim.device_id]))
        elif claim.server_id is not None and claim.peer is not None:
            found.append(_served(host, claim, refusals.get(claim.device_id)))
        # What a relay still has is not reported before that has ended.
        elif claim.server_id is None or claim.device_id not in host.relays:
            found.append(ClaimStatus.of(claim, *status(claim)))
    for claim in host.carried.values():
        if claim.server_id is not None:
            state, why = _carried(host, claim, refusals.get(claim.device_id))
            found.append(ClaimStatus.of(claim, state, why))
    return found


def _served(host: Snapshot, claim: Claim, refusal: Reason | None) -> ClaimStatus:
    """The status of a claim on a device of this host whose server is on another one."""
    relay, obstacle = host.relay_of(claim), _unservable(host, claim)
    if not claim.peer:
        return ClaimStatus.of(claim, State.WAITING, Reason(ReasonCode.NO_NETWORK_TRANSPORT))
    if relay is not None and obstacle is None:
        connected = relay.state == RelayState.CONNECTED
        why = None if connected else Reason(ReasonCode.CHANNEL_CONNECTING)
        found = ClaimStatus.of(claim, State.ATTACHED if connected else State.WAITING, why)
        return dataclasses.replace(found, port=relay.port)
    return ClaimStatus.of(claim, *(obstacle or _without_relay(refusal)))


def _unservable(host: Snapshot, claim: Claim) -> tuple[State, Reason] | None:
    """The reason why a device cannot be given to a server on another host, None if it can.

    This host's own rule decides, whatever the conductor has been told of it.
    """
    device = host.device_of(claim)
    if device is not None and not device.over_network:
        return State.FAILED, Reason(ReasonCode.NETWORK_NOT_ALLOWED)
    return _unfit(host, claim)


def _carried(host: Snapshot, claim: Claim, refusal: Reason | None) -> tuple[State, Reason | None]:
    """The status of a claim on a device of another host whose server is on this one."""
    domain, relay = host.domains.get(claim.server_id or ""), host.relay_of(claim)
    if domain is None:
        return State.WAITING, Reason(ReasonCode.DOMAIN_ABSENT)
    if not domain.running:
        return State.WAITING, Reason(ReasonCode.SERVER_OFF)
    if not claim.peer:
        return State.WAITING, Reason(ReasonCode.NO_NETWORK_TRANSPORT)
    if relay is None or claim.device_id not in domain.channels:
        return _without_relay(refusal)
    if relay.state == RelayState.CONNECTED:
        return State.ATTACHED, None
    if not relay.reason:
        return State.WAITING, Reason(ReasonCode.CHANNEL_CONNECTING)
    code = ReasonCode.CHANNEL_REFUSED if relay.refused else ReasonCode.CHANNEL_UNREACHABLE
    return State.WAITING, Reason(code, f"{claim.peer} at {claim.address}: {relay.reason}")


def _without_relay(refusal: Reason | None) -> tuple[State, Reason]:
    """The status of a claim whose relay does not run, or to which the hypervisor has not connected."""
    if refusal is None:
        return State.WAITING, Reason(ReasonCode.CHANNEL_CONNECTING)
    is_passing = refusal.code in (ReasonCode.SERVER_BUSY, ReasonCode.NO_NETWORK_TRANSPORT)
    return State.WAITING if is_passing else State.FAILED, refusal


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


def _is_connected(host: Snapshot, domain: Domain, device_id: str) -> bool:
    """Whether a channel of a domain has its claim, and is connected to its relay."""
    claim = host.carried.get(device_id)
    if claim is None or claim.server_id != domain.uuid:
        return False
    relay = host.relay_of(claim)
    return relay is not None and not relay.idle


def _is_in_use(host: Snapshot, device_id: str, device: Device) -> bool:
    """Whether a domain or a relay has the device."""
    return device_id in host.present or device_id in host.relays or host.is_held(device)


def _obstacle(host: Snapshot, claim: Claim) -> tuple[State, Reason] | None:
    """The reason why a claim with a server cannot be fulfilled on this host, None if it can."""
    domain = host.domains.get(claim.server_id or "")
    if domain is None or claim.peer is not None:
        return State.WAITING, Reason(ReasonCode.DOMAIN_ABSENT)
    if not domain.running:
        return State.WAITING, Reason(ReasonCode.SERVER_OFF)
    return _unfit(host, claim)


def _unfit(host: Snapshot, claim: Claim) -> tuple[State, Reason] | None:
    """The reason why the device of a claim cannot be given to any server, None if it can."""
    device = host.device_of(claim)
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
    if not claim.ending or device is None or _is_in_use(host, claim.device_id, device):
        return None
    return device
