# SPDX-License-Identifier: Apache-2.0
"""libvirt's QEMU driver."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import libvirt
from oslo_log import log

from compute_shim.hypervisor import base
from compute_shim.hypervisor.libvirt import error_translation, host_checks, qemu_process
from compute_shim.hypervisor.libvirt.driver import LibvirtDriver
from compute_shim.hypervisor.libvirt.guest import Guest
from compute_shim.objects import Device, Reason, ReasonCode

LOG = log.getLogger(__name__)

# A removal needs nothing from the guest and is done within a second even under emulation; QEMU or its
# host being stuck is what takes longer.
_REMOVAL_SECONDS = 10

# QEMU opens what the saved domain had, and lets it go again when its state has been loaded; until then it
# looks as if it were attached.
_ARRIVALS = (
    libvirt.VIR_DOMAIN_EVENT_STARTED_MIGRATED,
    libvirt.VIR_DOMAIN_EVENT_STARTED_RESTORED,
    libvirt.VIR_DOMAIN_EVENT_STARTED_FROM_SNAPSHOT,
)


class Qemu(LibvirtDriver):
    """The servers are QEMU processes, which open their devices.

    :raises compute_shim.hypervisor.base.UnsafeHost: on creation, if libvirt's settings endanger its devices
    """

    _not_attached = Reason(
        ReasonCode.DEVICE_UNUSABLE, "QEMU did not open the device: it was unplugged, or does not work"
    )

    def __init__(self, uri: str) -> None:
        host_checks.refuse_unsafe()
        super().__init__(uri)
        self._removed: dict[tuple[str, str], threading.Event] = {}
        # Domains that arrived with hostdevs of their past, and what was attached since.
        self._arrived: set[str] = set()
        self._proven: set[tuple[str, str]] = set()

    def problems(self) -> list[str]:
        problem = host_checks.hook_problem()
        return [] if problem is None else [problem]

    def is_server(self, pid: int) -> bool:
        return qemu_process.is_domain(pid)

    def _attach(self, domain: libvirt.virDomain, device_id: str, device: Device) -> None:
        _refuse_if_busy(domain)
        guest = Guest(domain)
        with _refusal_explained(guest, device.speed):
            guest.attach(device_id, device)
        self._proven.add((domain.UUIDString(), f"{base.ALIAS_PREFIX}{device_id}"))

    def _has(self, domain: libvirt.virDomain, device_id: str, device: Device) -> bool:
        # Not by the XML, which takes as long as half the attach.
        held = qemu_process.held_devices(domain.name())
        return held is None or (device.bus, device.device) in held

    def _detach(self, domain: libvirt.virDomain, device_id: str, *, live: bool, config: bool) -> None:
        # Two calls: one with both flags is all or nothing, and fails if either has no such hostdev.
        guest = Guest(domain)
        if live:
            _refuse_if_busy(domain)
            self._remove(guest, domain.UUIDString(), device_id)
        if config:
            with _absence_is_success():
                guest.undefine_hostdev(device_id)

    def attach_channel(self, uuid: str, device_id: str, socket: str) -> None:
        with self._connected() as connection:
            domain = connection.lookupByUUIDString(uuid)
            _refuse_if_busy(domain)
            guest = Guest(domain)
            qemu_process.let_in(domain.name(), socket)
            # QEMU names the speed of the device only when it is connected.
            with _refusal_explained(guest, ""):
                guest.attach_channel(device_id, socket)

    def _remove(self, guest: Guest, uuid: str, device_id: str) -> None:
        port = guest.arrival_port(device_id)
        key = (uuid, f"{base.ALIAS_PREFIX}{device_id}")
        removed = self._removed[key] = threading.Event()
        try:
            with _absence_is_success() as absent:
                guest.request_removal(device_id)
            if not absent and not removed.wait(_REMOVAL_SECONDS):
                raise base.HypervisorError(
                    ReasonCode.NOT_REMOVED, f"not removed from the domain within {_REMOVAL_SECONDS} s"
                )
        finally:
            del self._removed[key]
        if port is not None:
            guest.show_empty(port)

    def _look(self, domain: libvirt.virDomain) -> base.Domain:
        uuid = domain.UUIDString()
        return Guest(domain).describe(
            lambda hostdev: uuid not in self._arrived or (uuid, hostdev.alias) in self._proven
        )

    def _open(self) -> libvirt.virConnect:
        connection = super()._open()
        if not qemu_process.can_be_seen():
            connection.close()
            raise base.HypervisorUnavailable(
                f"{qemu_process.RUN} is missing, where libvirt names the process of each domain; if the"
                " agent is in a container, mount the host's /run/libvirt there"
            )
        for event, callback in (
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, self._device_changed),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, self._device_removed),
        ):
            connection.domainEventRegisterAny(None, event, callback, None)
        for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            # One that ends or moves away just now is no reason to be without the others.
            with contextlib.suppress(libvirt.libvirtError):
                Guest(domain).end_passing()
        return connection

    # As in `LibvirtDriver`, the callbacks run in the event thread.

    def _lifecycle(self, connection: Any, domain: Any, event: int, detail: int, opaque: Any) -> None:
        uuid = domain.UUIDString()
        if event == libvirt.VIR_DOMAIN_EVENT_STARTED:
            self._proven.difference_update({key for key in tuple(self._proven) if key[0] == uuid})
            if detail in _ARRIVALS:
                self._arrived.add(uuid)
            else:
                self._arrived.discard(uuid)
        super()._lifecycle(connection, domain, event, detail, opaque)

    def _device_changed(self, connection: Any, domain: Any, alias: str, opaque: Any) -> None:
        self._on_change(domain.UUIDString())

    def _device_removed(self, connection: Any, domain: Any, alias: str, opaque: Any) -> None:
        waiter = self._removed.get((domain.UUIDString(), alias))
        if waiter is not None:
            waiter.set()
        self._on_change(domain.UUIDString())


@contextlib.contextmanager
def _refusal_explained(guest: Guest, speed: str) -> Iterator[None]:
    """Explain a refused attach by the guest's USB controllers.

    :param speed: of the device in Mb/s, empty if it is unknown.
    """
    try:
        yield
    except libvirt.libvirtError as error:
        reason = error_translation.explained(str(error), guest.usb_controllers(), speed)
        LOG.warning("libvirt refused: %s", error)
        raise base.HypervisorError(reason.code, reason.details) from error


def _refuse_if_busy(domain: libvirt.virDomain) -> None:
    """Raise `base.HypervisorBusy` while a domain is migrated or saved: a change would block until the end."""
    try:
        busy = domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE
    except libvirt.libvirtError as error:
        # "Migration statistics are available only on the source host", says the one that it comes to.
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_UNSUPPORTED:
            raise
        busy = True
    if busy:
        raise base.HypervisorBusy()


@contextlib.contextmanager
def _absence_is_success() -> Iterator[list[bool]]:
    """Suppress the error for an absent hostdev, and append it to the list that this yields.

    libvirt 9.0 raises VIR_ERR_INTERNAL_ERROR for an alias, otherwise VIR_ERR_DEVICE_MISSING.
    """
    absent: list[bool] = []
    try:
        yield absent
    except libvirt.libvirtError as error:
        missing = error.get_error_code() == libvirt.VIR_ERR_DEVICE_MISSING
        if not missing and "no device found with alias" not in str(error):
            raise
        absent.append(True)
