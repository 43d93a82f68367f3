# SPDX-License-Identifier: Apache-2.0
"""What the conductor and the agents exchange, and what the planner works with.

Every object is an immutable dataclass of plain values; `compute_shim.wire` carries them over the message bus.
A field that an older version does not know has a default and says since which RPC version it is sent
(`since`).
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from novaclient_usb.reason_codes import ReasonCode, describe

__all__ = [
    "SERVER_ABSENT",
    "Claim",
    "ClaimStatus",
    "Device",
    "Plugged",
    "Reason",
    "ReasonCode",
    "State",
]


def since(version: str) -> Any:
    """A field, None by default, that is sent only to those who speak this RPC version or a later one."""
    return dataclasses.field(default=None, metadata={"since": version})


class State(enum.StrEnum):
    """The states of a device, as people see them (column ``state``)."""

    AVAILABLE = "available"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    WAITING = "waiting"
    DETACHING = "detaching"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


#: Reasons that say where a server is that does not run on the device's host. An agent sees its own host only;
#: the conductor, which asks Nova, knows better.
SERVER_ABSENT = (
    ReasonCode.SERVER_OFF,
    ReasonCode.DOMAIN_ABSENT,
    ReasonCode.SERVER_ON_OTHER_HOST,
    ReasonCode.SERVER_SHELVED,
)


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why something is as it is.

    :param code: for programs; decides.
    :param details: for administrators, who may read about hosts; None if the code says all.
    """

    code: ReasonCode | str
    details: str | None = None

    @property
    def text(self) -> str:
        """For people."""
        return self.details or describe(self.code) or ""


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
    """A plugged device that the agent recognizes and reports.

    :param identity: what stays the same over a re-plug: ``vid:pid:serial`` where that is unique on
        the host, else ``vid:pid@port``. Never shown to anyone.
    :param blocked_reason: why it cannot be given away now, for administrators; None if it can.
    :param blocked_code: the code of that (`ReasonCode`).
    """

    identity: str
    blocked_reason: str | None = None
    blocked_code: str | None = since("1.1")

    @property
    def blocked(self) -> Reason | None:
        """Why it cannot be given away now, None if it can."""
        return None if self.blocked_code is None else Reason(self.blocked_code, self.blocked_reason)


@dataclasses.dataclass(frozen=True)
class Claim:
    """What the database wants of one known device of a host.

    :param server_id: UUID of the server that has the device, None: no domain may hold it.
    :param generation: grows with every change of intent; of two claims on one device the one with the
        higher generation is true.
    :param state: what the database says became of it, for an agent that has said something else.
    :param reason: text of the state's reason.
    :param reason_code: its code (`ReasonCode`).
    """

    device_id: str
    identity: str
    port: str
    generation: int
    server_id: str | None = None
    state: str | None = None
    reason: str | None = None
    reason_code: str | None = since("1.1")

    @property
    def ending(self) -> bool:
        """A server gave the device back, and no agent has said yet that it is free."""
        return self.state == State.DETACHING


@dataclasses.dataclass(frozen=True)
class ClaimStatus:
    """What became of a claim.

    :param generation: of the claim that it answers. An outcome of an older generation changes nothing.
    :param state: ATTACHED, WAITING or FAILED for a claim with a server. For one without: AVAILABLE when
        no domain on the host holds the device any more and it was reset, DETACHING until then.
    :param reason: for administrators, where the state needs one. With AVAILABLE it is what became of
        the reset, for the device's history only.
    :param reason_code: the code of that (`ReasonCode`).
    """

    device_id: str
    generation: int
    state: str
    reason: str | None = None
    reason_code: str | None = since("1.1")

    @classmethod
    def of(cls, claim: Claim, state: State, reason: Reason | None = None) -> ClaimStatus:
        """What became of this claim."""
        if reason is None:
            return cls(claim.device_id, claim.generation, state)
        return cls(claim.device_id, claim.generation, state, reason.text, reason.code)
