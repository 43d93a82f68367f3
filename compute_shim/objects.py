# SPDX-License-Identifier: Apache-2.0
"""What the conductor and the agents tell each other, and what the planner thinks in.

Every object is an immutable dataclass of plain values, so that it crosses the message bus as a dict
(`dataclasses.asdict`) and comes back with `Class(**dict)`.
"""

from __future__ import annotations

import dataclasses
import enum

#: ``blocked_reason`` of a device that no rule of ``[usb] device_spec`` allows. Such a device is for
#: administrators to see only.
NOT_ALLOWED = "not allowed by device_spec"


class State(enum.StrEnum):
    """The states of a device, as people see them (column ``state``)."""

    AVAILABLE = "available"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    WAITING = "waiting"
    DETACHING = "detaching"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


class Waiting(enum.StrEnum):
    """What a claim waits for, as people see it (column ``state_reason``)."""

    UNPLUGGED = "unplugged"
    SERVER_OFF = "the server is off"
    OTHER_HOST = "the server is on another host"
    SHELVED = "the server is shelved"
    BUSY = "the server is being moved or saved"


#: Where a server is that does not run on the device's host. An agent sees its own host only; the conductor,
#: which asks Nova, knows better.
ABSENT = (Waiting.SERVER_OFF, Waiting.OTHER_HOST, Waiting.SHELVED)


@dataclasses.dataclass(frozen=True)
class Plugged:
    """A USB device as it sits in its port.

    :param name: as ``lsusb`` prints it, cleaned of control characters.
    :param vendor_id: four lower-case hexadecimal digits; so is ``product_id``.
    :param vendor: vendor name; so are ``product`` and ``serial``: empty when the device has none.
    :param device_class: two lower-case hexadecimal digits, of the first interface where the device
        leaves its class to the interfaces (USB 2.0 specification, table 9-8).
    :param speed: in Mb/s, as sysfs has it: ``1.5``, ``12``, ``480``, ``5000``.
    :param port: port path of sysfs, for example ``2-1.4``: bus 2, port 1, port 4 of the hub there.
    :param bus: bus number, as lsusb prints it.
    :param device: device number on that bus; changes at every plug.
    """

    name: str
    vendor_id: str
    product_id: str
    vendor: str
    product: str
    serial: str
    device_class: str
    speed: str
    port: str
    bus: int
    device: int


@dataclasses.dataclass(frozen=True)
class Device(Plugged):
    """A plugged device that the agent knows again, and reports.

    :param identity: what stays the same over a re-plug: ``vid:pid:serial`` where that is unique on
        the host, else ``vid:pid@port``. Never shown to anyone.
    :param blocked_reason: why it cannot be given away now, None if it can.
    """

    identity: str
    blocked_reason: str | None = None


@dataclasses.dataclass(frozen=True)
class Claim:
    """What the database wants of one known device of a host.

    :param server_id: UUID of the server that has the device, None: no domain may hold it.
    :param generation: grows with every change of intent; of two claims on one device the one with the
        higher generation is true.
    :param state: what the database says became of it, for an agent that has said something else.
    :param reason: of the state.
    """

    device_id: str
    identity: str
    port: str
    generation: int
    server_id: str | None = None
    state: str | None = None
    reason: str | None = None

    @property
    def ending(self) -> bool:
        """A server gave the device back, and no agent has said yet that it is free."""
        return self.state == State.DETACHING


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a claim.

    :param generation: of the claim that it answers. An outcome of an older generation changes nothing.
    :param state: ATTACHED, WAITING or FAILED for a claim with a server. For one without: AVAILABLE when
        no domain on the host holds the device any more and it was reset, DETACHING until then.
    :param reason: one sentence for people, where the state needs one. With AVAILABLE it is what became of
        the reset, for the device's history only.
    """

    device_id: str
    generation: int
    state: str
    reason: str | None = None
