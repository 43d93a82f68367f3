# SPDX-License-Identifier: Apache-2.0
"""Match the devices that an agent reports with the rows of the database.

An agent of RPC 1.2 says itself which known device each is (`compute_shim.agent.identity`). What it says is
followed as far as it spoils nothing: a row is one device's at most, and only rows of the agent's own host
count. What it calls new is new, unless a row has the same identity already: such a row is left as it is until
the agent, which learns of it with the answer, has said whether it is that.

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
    return found


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
