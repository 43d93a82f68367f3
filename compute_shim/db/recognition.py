# SPDX-License-Identifier: Apache-2.0
"""Match the devices that an agent reports with the rows of the database.

An agent of RPC 1.2 says itself which known device each is (`compute_shim.agent.identity`). What it says is
followed as far as it spoils nothing: a row is one device's at most, and only rows of the agent's own host
count. What it calls new is new, unless a row has the same identity already: such a row is left as it is until
the agent, which learns of it with the answer, has said whether it is that. Likewise a row that the agent has
guessed, if there is a claim on it, or on a device that it could also be: the agent did not know of the claim.

An older agent tells identities only, by serial number or port.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable

from oslo_log import log

from compute_shim import objects
from compute_shim.db import models

LOG = log.getLogger(__name__)

#: Vendor, product, serial number.
Model = tuple[str, str, str]


@dataclasses.dataclass
class Recognized:
    """The match of devices and rows of a host.

    :param pairs: each device that is recorded, and its row; None: a new one.
    :param open: ids of rows that are left as they are.
    """

    pairs: list[tuple[objects.Device, models.Device | None]] = dataclasses.field(default_factory=list)
    open: set[str] = dataclasses.field(default_factory=set)


def recognize(rows: Collection[models.Device], devices: Iterable[objects.Device]) -> Recognized:
    """Find the row of each device.

    :param rows: all known devices of the host.
    """
    found = Recognized()
    known, free = {row.id for row in rows}, {row.id: row for row in rows}
    new, old = [], []
    for device in devices:
        if device.socket is None:
            old.append(device)
        elif device.device_id not in known:
            new.append(device)
        elif device.device_id in free:
            found.pairs.append((device, free.pop(device.device_id)))
        else:
            LOG.warning("Ignoring a second device that is said to be %s", device.device_id)
    _take_new(found, rows, free, new)
    _take_by_identity(found, free, old)
    _leave_guesses(found, free.values())
    return found


def _leave_guesses(found: Recognized, missing: Collection[models.Device]) -> None:
    """Leave rows as they are that are guessed, although something depends on which device it is.

    :param missing: the rows of devices that are not plugged in.
    """
    guarded = {model(row) for row in missing if _is_guarded(row)}
    for device, row in tuple(found.pairs):
        if row is not None and device.guessed and (_is_guarded(row) or model(row) in guarded):
            found.pairs.remove((device, row))
            found.open.add(row.id)


def _is_guarded(row: models.Device) -> bool:
    """Whether a server has the device, or an administrator disabled it."""
    return row.instance_uuid is not None or row.state == objects.State.DETACHING or not row.enabled


def _take_new(
    found: Recognized,
    rows: Collection[models.Device],
    free: dict[str, models.Device],
    devices: Iterable[objects.Device],
) -> None:
    """Record devices that the agent calls new; it may not have had the answer that knows them."""
    by_plug_id = {row.plug_id: row for row in free.values() if row.plug_id is not None}
    by_key = {key_of(row): row for row in rows}
    for device in devices:
        row = by_plug_id.get(device.plug_id or "")
        if row is not None and row.id in free:
            found.pairs.append((device, free.pop(row.id)))
        elif key_of(device) in by_key:
            found.open.add(by_key[key_of(device)].id)
        else:
            found.pairs.append((device, None))


def _take_by_identity(
    found: Recognized, free: dict[str, models.Device], devices: Iterable[objects.Device]
) -> None:
    """Find the rows of devices of an agent that is older than RPC 1.2."""
    unknown = []
    by_identity = {row.identity: row for row in free.values()}
    for device in devices:
        row = by_identity.get(device.identity)
        if row is None:
            unknown.append(device)
        else:
            del free[row.id]
            found.pairs.append((device, row))
    # A newer agent was here before, by whose identities the rows are known.
    by_place = {(row.port, *model(row)): row for row in free.values() if row.socket is not None}
    for device in unknown:
        found.pairs.append((device, by_place.pop((device.port, *model(device)), None)))


def model(item: models.Device | objects.Device) -> Model:
    """The properties that identify a device model."""
    return item.vendor_id, item.product_id, item.serial.strip()


def key_of(item: models.Device | objects.Device) -> str:
    """The identity of a device: its serial number, or its socket where that identifies nothing."""
    if item.socket is None:
        return item.identity
    vendor_id, product_id, serial = model(item)
    if serial and not item.serial_shared:
        return f"{vendor_id}:{product_id}:{serial}"
    place = f"{vendor_id}:{product_id}@{item.socket}"
    return f"{place}:{serial}" if serial else place
