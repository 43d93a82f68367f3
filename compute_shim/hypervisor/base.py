# SPDX-License-Identifier: Apache-2.0
"""The contract of a hypervisor driver: what the agent may ask of it, and what it answers with."""

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
    """The domain cannot be changed while the hypervisor moves or saves it; an event tells of the end."""

    def __init__(self) -> None:
        super().__init__(ReasonCode.SERVER_BUSY)


class UnsafeHost(Exception):
    """This host's devices are not safe from its servers; the text says what to change."""


class UnsupportedHypervisor(Exception):
    """There is no driver for what the configuration names; the text says which there are."""


class HypervisorUnavailable(HypervisorError):
    """The hypervisor's daemon does not answer."""

    def __init__(self, details: str) -> None:
        super().__init__(ReasonCode.HYPERVISOR_ERROR, details)


@dataclasses.dataclass(frozen=True)
class Hostdev:
    """A USB device of the host in a domain.

    :param alias: the name of the hostdev in the domain, None where it has none.
    :param bus: address on the host, None where the definition names none; so is ``device``.
    :param missing: an empty place: the hypervisor did not find the device, or has let it go.
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
        """Is it this plugged device that the domain has?"""
        return not self.missing and self.address == (device.bus, device.device)


@dataclasses.dataclass(frozen=True)
class Domain:
    """A domain with its USB hostdevs.

    :param uuid: also the id of the server, because Nova makes them the same.
    :param running: it has a process; a paused one has too.
    :param live: what the running domain has.
    :param config: what its persistent definition has.
    :param usb_ports: as in `compute_shim.objects.Server`.
    """

    uuid: str
    name: str
    running: bool
    live: tuple[Hostdev, ...] = ()
    config: tuple[Hostdev, ...] = ()
    usb_ports: int | None = None

    def has(self, device_id: str, device: Device) -> bool:
        """Does the running domain have this plugged device, for the claim on this id?"""
        return any(hostdev.device_id == device_id and hostdev.holds(device) for hostdev in self.live)

    def with_device(self, device_id: str, device: Device) -> Domain:
        """The domain when our hostdev was added to what it has."""
        hostdev = Hostdev(f"{ALIAS_PREFIX}{device_id}", device.bus, device.device)
        others = (other for other in self.live if other.alias != hostdev.alias)
        return dataclasses.replace(self, live=(*others, hostdev))


class Driver(abc.ABC):
    """A hypervisor on this host.

    Every method but `close`, `problems` and `is_server` raises `HypervisorUnavailable` when the daemon is
    away; the next call tries to connect again.
    """

    @abc.abstractmethod
    def listen(self, on_change: Callable[[str | None], None]) -> None:
        """Call ``on_change(uuid)`` from another thread whenever a domain changes.

        ``on_change(None)`` says that the daemon went away, and so that anything may have changed.
        """

    @abc.abstractmethod
    def name(self) -> str:
        """Hypervisor and version, for people."""

    @abc.abstractmethod
    def problems(self) -> list[str]:
        """What the operator of this host has to mend, a sentence each; asks no daemon."""

    @abc.abstractmethod
    def is_server(self, pid: int) -> bool:
        """Whether a process of the host is a domain, or runs in one; asks no daemon."""

    @abc.abstractmethod
    def domains(self) -> list[Domain]:
        """All domains of the host, running or not."""

    @abc.abstractmethod
    def domain(self, uuid: str) -> Domain | None:
        """One domain, None if it is not on this host."""

    @abc.abstractmethod
    def attach(self, uuid: str, device_id: str, device: Device) -> None:
        """Give a running domain the device that is at the address ``device.bus, device.device`` now.

        Not written to the persistent definition. Returns when the domain really has it.

        :raises HypervisorError: refused, or the device was gone
        """

    @abc.abstractmethod
    def detach(self, uuid: str, device_id: str, *, live: bool, config: bool) -> Domain | None:
        """Take our hostdev out of the running domain, out of the definition, or both.

        Returns when it is out. Not being there is no error.

        :returns: the domain as it is then, None if it is not on this host any more
        :raises HypervisorError: refused
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the daemon."""
