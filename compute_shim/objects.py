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
    "LOCAL",
    "SERVER_ABSENT",
    "Claim",
    "ClaimStatus",
    "Device",
    "Handover",
    "Plugged",
    "Reason",
    "ReasonCode",
    "Server",
    "State",
]


def since(version: str) -> Any:
    """A field, None by default, that is sent only to those who speak this RPC version or a later one."""
    return dataclasses.field(default=None, metadata={"since": version})


#: Metadata of a field that only the agent knows: it is never sent, and never taken from a message.
LOCAL = {"local": True}


class State(enum.StrEnum):
    """The states of a device, as people see them (column ``state``)."""

    AVAILABLE = "available"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    WAITING = "waiting"
    DETACHING = "detaching"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


class Handover(enum.StrEnum):
    """What has to be done with a device between two projects, besides the reset."""

    NONE = "none"
    #: An administrator looks at it, and releases it.
    HOLD = "hold"
    #: What is stored on it is overwritten, whenever it is given back.
    WIPE = "wipe"


#: Reasons that say where a server is that does not run on the device's host. An agent sees its own host only;
#: the conductor, which asks Nova, knows better.
SERVER_ABSENT = (
    ReasonCode.SERVER_OFF,
    ReasonCode.DOMAIN_ABSENT,
    ReasonCode.SERVER_ON_OTHER_HOST,
    ReasonCode.SERVER_SHELVED,
    ReasonCode.KIND_NOT_FREE,
    ReasonCode.NO_NETWORK_TRANSPORT,
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
    :param socket: stable name of the connector (`compute_shim.agent.sockets`), None from an older agent.
    :param plug_id: the same as long as the device stays plugged in, and never the same again. It begins with
        the id of the host's boot and a slash.
    :param classes: class, subclass and protocol, two lower-case hexadecimal digits each, of the device,
        unless it leaves them to its interfaces, and of all interfaces of all its configurations.
    :param network: the kernel has a network driver for it, whatever its classes say.
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
    _: dataclasses.KW_ONLY
    socket: str | None = since("1.2")
    plug_id: str | None = since("1.2")
    classes: tuple[str, ...] = dataclasses.field(default=(), metadata=LOCAL)
    network: bool = dataclasses.field(default=False, metadata=LOCAL)


@dataclasses.dataclass(frozen=True)
class Device(Plugged):
    """A plugged device that the agent recognizes and reports.

    :param identity: by which a conductor older than RPC 1.2 knows it again: ``vid:pid:serial`` or
        ``vid:pid@port``, or whatever the known device has that this one is. Never shown to anyone.
    :param device_id: of the known device that this one is, None: nobody knew it
        (`compute_shim.agent.identity`).
    :param serial_shared: its serial number was seen on two devices of the host at once.
    :param follow: ``socket``: by the rule that decides on it, a claim on it is one on its socket.
    :param shared: by the rule that offers it, all projects may have it; None: no rule does, or nobody knows.
    :param projects: ids of the projects that may, by that rule.
    :param kind: what it is interchangeable with, by that rule; empty: nothing; None: as for ``shared``.
    :param handover: what has to be done between two projects (`Handover`), by that rule; None: as for
        ``shared``.
    :param over_network: by that rule, servers on other hosts may have it; None: as for ``shared``.
    :param guessed: it may be another one of its kind, which is missing: as far as the agent knew, nothing
        depended on that.
    :param rule: that decides on it, with its number, for administrators; empty: none matches.
    :param blocked_reason: why it cannot be given away now, for administrators; None if it can.
    :param blocked_code: the code of that (`ReasonCode`).
    """

    identity: str
    blocked_reason: str | None = None
    blocked_code: str | None = since("1.1")
    device_id: str | None = since("1.2")
    serial_shared: bool | None = since("1.2")
    follow: str | None = since("1.2")
    shared: bool | None = since("1.3")
    projects: tuple[str, ...] | None = since("1.3")
    kind: str | None = since("1.3")
    handover: str | None = since("1.3")
    rule: str | None = since("1.3")
    over_network: bool | None = since("1.4")
    guessed: bool | None = since("1.4")

    @property
    def blocked(self) -> Reason | None:
        """Why it cannot be given away now, None if it can."""
        return None if self.blocked_code is None else Reason(self.blocked_code, self.blocked_reason)


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that has a domain on the host.

    :param usb_ports: how many of our devices its USB controllers have room for, with those that it has;
        None: that is not known.
    """

    running: bool
    usb_ports: int | None = since("1.3")


@dataclasses.dataclass(frozen=True)
class Claim:
    """What the database wants of one known device of a host.

    :param server_id: UUID of the server that has the device, None: no domain may hold it.
    :param generation: grows with every change of intent; of two claims on one device the one with the
        higher generation is true.
    :param state: what the database says became of it, for an agent that has said something else.
    :param reason: text of the state's reason.
    :param reason_code: its code (`ReasonCode`).
    :param vendor_id: what is known of the device as it was plugged in last; so are the next five, as in
        `Device`. All are None from a conductor or an API older than RPC 1.2.
    :param enabled: False: an administrator withholds the device.
    :param wiped: per cent of what is stored on it that is overwritten, where it is to be; None: it is not.
    :param peer: name, as in its certificate, of the host with which the device is connected over the network;
        None: the claim is not fulfilled over the network; empty: that host cannot do so.
    :param address: None: the device is one of this host. Otherwise it is one of another host for a server on
        this one; ``HOST:PORT`` of the relay there, empty if it has none.
    """

    device_id: str
    identity: str
    port: str
    generation: int
    server_id: str | None = None
    state: str | None = None
    reason: str | None = None
    reason_code: str | None = since("1.1")
    vendor_id: str | None = since("1.2")
    product_id: str | None = since("1.2")
    serial: str | None = since("1.2")
    socket: str | None = since("1.2")
    plug_id: str | None = since("1.2")
    serial_shared: bool | None = since("1.2")
    follow: str | None = since("1.2")
    enabled: bool | None = since("1.2")
    wiped: int | None = since("1.3")
    peer: str | None = since("1.4")
    address: str | None = since("1.4")

    def completed(self, older: Claim) -> Claim:
        """The same with what an older one tells of the device, if this comes from before RPC 1.2."""
        if self.vendor_id is not None or older.vendor_id is None:
            return self
        late = [field.name for field in dataclasses.fields(self) if field.metadata.get("since") == "1.2"]
        return dataclasses.replace(self, **{name: getattr(older, name) for name in late})

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
        the reset, for the device's history only. Of a device that is to be wiped: UNAVAILABLE while that
        goes on or has failed, AVAILABLE with `ReasonCode.WIPED` when it is done.
    :param reason_code: the code of that (`ReasonCode`).
    :param wiped: as in `Claim`.
    :param port: TCP port of the relay of a device that is connected over the network.
    """

    device_id: str
    generation: int
    state: str
    reason: str | None = None
    reason_code: str | None = since("1.1")
    wiped: int | None = since("1.3")
    port: int | None = since("1.4")

    @classmethod
    def of(cls, claim: Claim, state: State, reason: Reason | None = None) -> ClaimStatus:
        """What became of this claim."""
        if reason is None:
            return cls(claim.device_id, claim.generation, state)
        return cls(claim.device_id, claim.generation, state, reason.text, reason.code)
