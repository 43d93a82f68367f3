# SPDX-License-Identifier: Apache-2.0
"""The devices of a host, arranged by where they are plugged in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from usb_dashboard.devices import Device


@dataclasses.dataclass
class Place:
    """A bus (``1``) or a port, named as the kernel does: ``1-7.2`` is port 2 of the hub on port 7 of bus 1.

    What hangs below a port hangs on a hub; the service lists no hubs.

    :ivar devices: those that are, or were last, plugged in here.
    :ivar below: the ports of the bus or of the hub.
    """

    path: str
    devices: list[Device] = dataclasses.field(default_factory=list)
    below: list[Place] = dataclasses.field(default_factory=list)

    @property
    def is_bus(self) -> bool:
        """Whether it is a bus, not a port."""
        return "-" not in self.path


def build(devices: Iterable[Device]) -> list[Place]:
    """The buses that devices of one host are on, and all ports on the way to the devices."""
    places = {"": Place("")}
    for device in devices:
        _place(places, device.port).devices.append(device)
    for place in places.values():
        # The ports of one hub differ in the last number only: the shorter one is the smaller one.
        place.below.sort(key=lambda port: (len(port.path), port.path))
    return places[""].below


def _place(places: dict[str, Place], path: str) -> Place:
    if path not in places:
        places[path] = Place(path)
        _place(places, _above(path)).below.append(places[path])
    return places[path]


def _above(path: str) -> str:
    for separator in ".-":
        if separator in path:
            return path.rpartition(separator)[0]
    return ""
