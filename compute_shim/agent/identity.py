# SPDX-License-Identifier: Apache-2.0
"""Identifies plugged devices as known devices: pure functions, and the state that they need.

The rules, in order:

1. While a device stays plugged in, it keeps its identity, regardless of other devices.
2. A device in the socket of a claim that follows its socket is the device of that claim, if the rules of
   ``[usb] device_spec`` say so for both. A device without a claim does not keep its identity by rule 1
   then: it may have been plugged in before the agent heard of the claim.
3. A serial number identifies a device, unless the host ever had two devices with that number at once.
4. Otherwise the socket identifies it, together with vendor and product (and serial number).

By rule 4 alone, a device could be mistaken for another one of its kind that was unplugged as well. While such
a device that the host has seen since boot is missing, the identity of the device that returned is ambiguous.
If a server has one of them, or an administrator has disabled one, it is *in doubt*: it cannot be attached
until the other one is in its socket again, or is deleted. Otherwise it is *guessed*, until the conductor has
recorded it: there may be a claim of which the agent does not know. The other one may be a *stranger*: a
device that the conductor has never heard of.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence

from compute_shim.objects import Claim, Device, Plugged, Reason, ReasonCode

#: Vendor, product, serial number: all that can be known of a device by itself.
Model = tuple[str, str, str]

#: Where a device is, and its model.
Place = tuple[str, Model]

# How many of the devices that a device in doubt may be are named.
_NAMED = 3
# Of an identity: `vid:pid`.
_IDS_LENGTH = 9
# A device that shows other numbers at every plug, while the conductor is away, must not fill the memory.
_MOST_STRANGERS = 512


class Identifier:
    """Identifies plugged devices, and remembers the result for the next scan.

    The database has the same state after the next report to the conductor.
    """

    def __init__(self) -> None:
        # Device id -> the generation of the claim by which it was identified, and what it was.
        self._last: dict[str, tuple[int, Device]] = {}
        self._shared: set[Model] = set()
        # Where strangers were seen, the latest last.
        self._strangers: dict[Place, None] = {}

    def identify(
        self, plugged: Collection[Plugged], known: Iterable[Claim], follows: Callable[[Plugged], bool]
    ) -> list[Device]:
        """Call the function `identify` with the known devices and those seen since."""
        rows = [self._updated(claim) for claim in known]
        devices = identify(plugged, rows, self._shared, follows, self._strangers)
        self._shared |= {model(device) for device in devices if device.serial_shared}
        generations = {claim.device_id: claim.generation for claim in rows}
        self._last = {key: last for key, last in self._last.items() if key in generations}
        for device in devices:
            if device.device_id is None or device.plug_id is None:
                continue
            if device.guessed:
                # What the conductor has recorded is true.
                self._last.pop(device.device_id, None)
            else:
                self._last[device.device_id] = (generations[device.device_id], device)
        self._remember_strangers(devices, rows)
        return devices

    def _remember_strangers(self, devices: Iterable[Device], rows: Iterable[Claim]) -> None:
        """Remember what the conductor does not know, and forget what it has heard of since."""
        places = {_place_of(device): device for device in devices if device.socket is not None}
        now = {place: None for place, device in places.items() if device.device_id is None}
        known = {(claim.socket, _known_model(claim)) for claim in rows}
        earlier = {place: None for place in self._strangers if place not in places and place not in known}
        self._strangers = dict(list((earlier | now).items())[-_MOST_STRANGERS:])

    def _updated(self, claim: Claim) -> Claim:
        """A known device as last seen.

        A claim that was made or released since refers to the device in the database. With an older conductor,
        the agent has only its own state.
        """
        generation, last = self._last.get(claim.device_id, (None, None))
        if last is None or (generation != claim.generation and claim.vendor_id is not None):
            return claim
        return dataclasses.replace(
            claim,
            vendor_id=last.vendor_id,
            product_id=last.product_id,
            serial=last.serial,
            socket=last.socket,
            plug_id=last.plug_id,
            follow=last.follow,
        )


def identify(
    plugged: Collection[Plugged],
    known: Collection[Claim],
    shared: Collection[Model] = (),
    follows: Callable[[Plugged], bool] = lambda item: False,
    strangers: Collection[Place] = (),
) -> list[Device]:
    """All plugged devices, each with the id of its known device. Ids are unique.

    :param known: all known devices of the host.
    :param shared: models that were seen on two devices at the same time, in addition to those of `known`.
    :param follows: whether claims on a device follow its socket, according to the rules.
    :param strangers: where devices were seen that are not among `known`.
    """
    count = collections.Counter(map(model, plugged))
    twins = {item for item, number in count.items() if number > 1 and item[2]}
    twins |= set(shared)
    twins |= {found for claim in known if _was_seen_twice(claim) and (found := _known_model(claim))}
    match = _Match(plugged, known)
    match.by(lambda claim: _plugging_of(claim) if _is_claimed(claim) else None, _plugging)
    match.by(_followed_socket, lambda item: item.socket if follows(item) else None)
    match.by(_plugging_of, _plugging)
    match.by(lambda claim: _unique(_known_model(claim), twins), lambda item: _unique(model(item), twins))
    by_socket = match.by(
        lambda claim: _place(claim.socket, _known_model(claim), twins),
        lambda item: _place(item.socket, model(item), twins),
    )
    match.by(_old_place, lambda item: (item.port, *model(item)))
    match.by(_old_identity, lambda item: _port_identity(item))
    match.by(_old_identity, _socket_identity)
    others = _others(match, by_socket, twins, strangers)
    used = {claim.identity for claim in known}
    return [
        _device(item, match.found.get(index), others.get(index), model(item) in twins, follows(item), used)
        for index, item in enumerate(plugged)
    ]


def model(item: Plugged) -> Model:
    """Vendor, product and serial number of a device."""
    return item.vendor_id, item.product_id, item.serial.strip()


def _place_of(item: Plugged) -> Place:
    return item.socket or "", model(item)


@dataclasses.dataclass(frozen=True)
class _Others:
    """What a plugged device could also be.

    :param named: the missing devices, for people.
    :param matter: a server has the plugged device or one of them, or an administrator has disabled one.
    """

    named: list[str]
    matter: bool


class _Match:
    """Matches plugged devices with known devices, one rule after the other.

    :ivar found: index of a plugged device -> known device.
    :ivar rest: known devices without a match.
    """

    def __init__(self, plugged: Collection[Plugged], known: Collection[Claim]) -> None:
        self.plugged = list(plugged)
        self.found: dict[int, Claim] = {}
        # Where several known devices come into question, it is the one on which something depends.
        order = sorted(known, key=lambda claim: (not _is_guarded(claim), claim.device_id))
        self.rest = {claim.device_id: claim for claim in order}

    def by(self, of_claim: Callable[[Claim], Hashable], of_item: Callable[[Plugged], Hashable]) -> list[int]:
        """Match devices with the same value; None matches nothing. Returns the new indices."""
        wanted = {of_claim(claim): claim for claim in reversed(self.rest.values())}
        wanted.pop(None, None)
        now = []
        for index, item in enumerate(self.plugged):
            claim = wanted.pop(of_item(item), None) if wanted and index not in self.found else None
            if claim is not None:
                self.found[index] = self.rest.pop(claim.device_id)
                now.append(index)
        return now


def _plugging_of(claim: Claim) -> Hashable:
    return claim.plug_id and (claim.plug_id, claim.socket, claim.vendor_id, claim.product_id)


def _plugging(item: Plugged) -> Hashable:
    return item.plug_id and (item.plug_id, item.socket, item.vendor_id, item.product_id)


def _followed_socket(claim: Claim) -> Hashable:
    return claim.socket if _is_claimed(claim) and claim.follow == "socket" else None


def _is_claimed(claim: Claim) -> bool:
    return claim.server_id is not None or claim.ending


def _known_model(claim: Claim) -> Model | None:
    """The model of a known device, None if unknown (RPC 1.1 has only the identity)."""
    if claim.vendor_id is not None and claim.product_id is not None and claim.serial is not None:
        return claim.vendor_id, claim.product_id, claim.serial.strip()
    ids, serial = claim.identity[:_IDS_LENGTH], claim.identity[_IDS_LENGTH:]
    vendor_id, _, product_id = ids.partition(":")
    return (vendor_id, product_id, serial[1:]) if serial.startswith(":") else None


def _was_seen_twice(claim: Claim) -> bool:
    """Before RPC 1.2, a device with a serial number was known by its port only where it had a twin."""
    if claim.serial_shared:
        return True
    return claim.socket is None and bool(claim.serial) and claim.identity[_IDS_LENGTH:].startswith("@")


def _unique(found: Model | None, twins: Collection[Model]) -> Model | None:
    return found if found is not None and found[2] and found not in twins else None


def _place(socket: str | None, found: Model | None, twins: Collection[Model]) -> Hashable:
    if socket is None or found is None or _unique(found, twins):
        return None
    return socket, *found


def _old_place(claim: Claim) -> Hashable:
    """The place of a device that was last seen before agents reported the socket."""
    found = _known_model(claim)
    return None if claim.socket is not None or found is None else (claim.port, *found)


def _old_identity(claim: Claim) -> str | None:
    """The identity that a conductor of RPC 1.1 has for a device known by its place."""
    return claim.identity if claim.socket is None and _known_model(claim) is None else None


def _port_identity(item: Plugged) -> str:
    return f"{item.vendor_id}:{item.product_id}@{item.port}"


def _socket_identity(item: Plugged) -> str:
    serial = item.serial.strip()
    place = f"{item.vendor_id}:{item.product_id}@{item.socket}"
    return f"{place}:{serial}" if serial else place


def _others(
    match: _Match, by_socket: Iterable[int], twins: Collection[Model], strangers: Collection[Place]
) -> dict[int, _Others]:
    """Index of a plugged device -> the missing devices that it could also be."""
    boots = {_boot(item.plug_id) for item in match.plugged} - {None}
    missing: dict[Hashable, list[Claim]] = {}
    for claim in match.rest.values():
        found = _known_model(claim)
        if _place(claim.socket, found, twins) is not None and _boot(claim.plug_id) in boots:
            missing.setdefault(found, []).append(claim)
    filled = set(map(_place_of, match.plugged))
    found_others = {}
    for index in by_socket:
        its_model = model(match.plugged[index])
        claims = missing.get(its_model, [])
        gone = [socket for socket, found in strangers if found == its_model and (socket, found) not in filled]
        if claims or gone:
            named = [f"{other.device_id} (socket {other.socket})" for other in claims]
            named += [f"a new one (socket {socket})" for socket in gone]
            found_others[index] = _Others(named, any(map(_is_guarded, [match.found[index], *claims])))
    return found_others


def _boot(plug_id: str | None) -> str | None:
    return plug_id and plug_id.partition("/")[0]


def _is_guarded(claim: Claim) -> bool:
    """Whether the identity matters: a server has the device, or an administrator disabled it."""
    return _is_claimed(claim) or claim.enabled is False


def _device(
    item: Plugged,
    claim: Claim | None,
    others: _Others | None,
    shared: bool,
    follow: bool,
    used: Collection[str],
) -> Device:
    values = vars(item) | {
        "identity": _new_identity(item, shared, used) if claim is None else claim.identity,
        "device_id": claim and claim.device_id,
        "serial_shared": shared or None,
        "follow": "socket" if follow else None,
        "guessed": True if others is not None and not others.matter else None,
    }
    if others is not None and others.matter:
        doubt = _doubt(item, others.named)
        # Without the plugging nobody takes the guess for known the next time.
        values |= {"plug_id": None, "blocked_code": doubt.code, "blocked_reason": doubt.text}
    return Device(**values)


def _new_identity(item: Plugged, shared: bool, used: Collection[str]) -> str:
    """An identity for a conductor older than RPC 1.2."""
    serial = item.serial.strip()
    by_port = _port_identity(item)
    if serial and not shared:
        return f"{item.vendor_id}:{item.product_id}:{serial}"
    return by_port if by_port not in used else _socket_identity(item)


def _doubt(item: Plugged, others: Sequence[str]) -> Reason:
    named = ", ".join(others[:_NAMED])
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    text = (
        f"the device in port {item.port} (socket {item.socket}) cannot be told from others that are"
        f" unplugged: {named}{more}; plug those into their own sockets again, or forget them"
    )
    return Reason(ReasonCode.IDENTITY_IN_DOUBT, text)
