# SPDX-License-Identifier: Apache-2.0
"""The contract of a hypervisor driver: its methods, the objects that they return, and their errors."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable

from compute_shim.objects import Device, Reason, ReasonCode

# libvirt keeps an alias of ours only if it begins with "ua-" (https://libvirt.org/formatdomain.html,
# "Devices"). Everything in a domain that carries this mark is ours, everything else is not.
ALIAS_PREFIX = "ua-usb-"


class HypervisorError(Exception):
    """The hypervisor refused.

    :ivar reason: why.
    """

    def __init__(self, code: ReasonCode | str, details: str | None = None) -> None:
        self.reason = Reason(code, details)
        super().__init__(self.reason.text)


class HypervisorBusy(HypervisorError):
    """The domain cannot be changed while it is migrated or saved; an event reports the end."""

    def __init__(self) -> None:
        super().__init__(ReasonCode.SERVER_BUSY)


class UnsafeHost(Exception):
    """The hypervisor does not protect this host's devices from servers; the text says what to change."""


class UnsupportedHypervisor(Exception):
    """No driver is installed for the configured hypervisor; the text lists the installed drivers."""


class HypervisorUnavailable(HypervisorError):
    """The hypervisor's daemon is unavailable."""

    def __init__(self, details: str) -> None:
        super().__init__(ReasonCode.HYPERVISOR_ERROR, details)


@dataclasses.dataclass(frozen=True)
class Hostdev:
    """A USB device of the host in a domain.

    :param alias: the name of the hostdev in the domain, None if it has none.
    :param bus: address on the host, None if the definition has none; likewise ``device``.
    :param missing: the hostdev is empty: the hypervisor did not find the device, or has released it.
    """

    alias: str | None
    bus: int | None
    device: int | None
    missing: bool = False

    @property
    def device_id(self) -> str | None:
        """Id of our device, None for a hostdev that is not ours."""
        if self.alias is None or not self.alias.startswith(ALIAS_PREFIX):
            return None
        return self.alias.removeprefix(ALIAS_PREFIX)

    @property
    def address(self) -> tuple[int | None, int | None]:
        """Bus and device number."""
        return self.bus, self.device

    def holds(self, device: Device) -> bool:
        """Whether this hostdev is the plugged device."""
        return not self.missing and self.address == (device.bus, device.device)


@dataclasses.dataclass(frozen=True)
class Domain:
    """A domain with its USB hostdevs.

    :param uuid: also the id of the server, because Nova makes them the same.
    :param running: it has a process; true for a paused domain.
    :param live: hostdevs of the running domain.
    :param config: hostdevs of its persistent definition.
    :param usb_ports: as in `compute_shim.objects.Server`.
    :param channels: ids of the devices of other hosts that the running domain is connected to.
    """

    uuid: str
    name: str
    running: bool
    live: tuple[Hostdev, ...] = ()
    config: tuple[Hostdev, ...] = ()
    usb_ports: int | None = None
    channels: tuple[str, ...] = ()

    def has(self, device_id: str, device: Device) -> bool:
        """Whether the running domain has this plugged device, for the claim on this id."""
        return any(hostdev.device_id == device_id and hostdev.holds(device) for hostdev in self.live)

    def with_device(self, device_id: str, device: Device) -> Domain:
        """A copy of the domain with our hostdev added."""
        hostdev = Hostdev(f"{ALIAS_PREFIX}{device_id}", device.bus, device.device)
        others = (other for other in self.live if other.alias != hostdev.alias)
        return dataclasses.replace(self, live=(*others, hostdev))

    def with_channel(self, device_id: str) -> Domain:
        """A copy of the domain that is connected to a device of another host."""
        others = (other for other in self.channels if other != device_id)
        return dataclasses.replace(self, channels=(*others, device_id))


class Driver(abc.ABC):
    """A hypervisor on this host.

    Every method except `close`, `problems` and `is_server` raises `HypervisorUnavailable` if the daemon is
    unavailable; the next call tries to connect again.
    """

    @abc.abstractmethod
    def listen(self, on_change: Callable[[str | None], None]) -> None:
        """Call ``on_change(uuid)`` from another thread whenever a domain changes.

        ``on_change(None)`` reports a lost connection to the daemon: any domain may have changed.
        """

    @abc.abstractmethod
    def name(self) -> str:
        """Hypervisor and version, for display."""

    @abc.abstractmethod
    def problems(self) -> list[str]:
        """Problems that the operator of this host must fix, one sentence each; does not call the daemon."""

    @abc.abstractmethod
    def is_server(self, pid: int) -> bool:
        """Whether a process of the host is a domain, or runs in one; does not call the daemon."""

    @abc.abstractmethod
    def domains(self) -> list[Domain]:
        """All domains of the host, running or not."""

    @abc.abstractmethod
    def domain(self, uuid: str) -> Domain | None:
        """One domain, None if it is not on this host."""

    @abc.abstractmethod
    def attach(self, uuid: str, device_id: str, device: Device) -> None:
        """Attach the device at the address ``device.bus, device.device`` to a running domain.

        Does not change the persistent definition. Returns when the attach is verified.

        :raises HypervisorError: refused, or the device is gone
        """

    @abc.abstractmethod
    def detach(self, uuid: str, device_id: str, *, live: bool, config: bool) -> Domain | None:
        """Remove our hostdev or channel from the running domain, the persistent definition, or both.

        Returns when it is removed. It is not an error if it is absent.

        :returns: the changed domain, None if it is no longer on this host
        :raises HypervisorError: refused
        """

    def attach_channel(self, uuid: str, device_id: str, socket: str) -> None:
        """Connect a running domain to the relay of a device that is plugged into another host.

        Does not change the persistent definition; `detach` removes it. Returns when the hypervisor is
        connected to the relay. The relay's state says whether the domain has the device.

        :param socket: path of the unix socket where ``usb-shim-relay server`` listens.
        :raises HypervisorError: refused, nobody listens there, or the hypervisor has no channels
        """
        raise HypervisorError(
            ReasonCode.HYPERVISOR_ERROR, "this hypervisor attaches only devices of its own host"
        )

    @abc.abstractmethod
    def close(self) -> None:
        """Close the connection to the daemon."""
