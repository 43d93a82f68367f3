# SPDX-License-Identifier: Apache-2.0
"""The connection to libvirt and its events. The only module that imports libvirt."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import libvirt
from oslo_log import log

from compute_shim.hypervisor import base
from compute_shim.hypervisor.libvirt import protection, refusals
from compute_shim.hypervisor.libvirt.guest import Guest
from compute_shim.objects import Device, Waiting

LOG = log.getLogger(__name__)

# A removal needs nothing from the guest and is done within a second even under emulation; QEMU or its
# host being stuck is what takes longer.
_REMOVAL_SECONDS = 10

# libvirt's probes of an idle connection: a dead daemon is noticed after interval * count seconds.
_KEEPALIVE_SECONDS = 5
_KEEPALIVE_COUNT = 3


# QEMU opens what the saved domain had, and lets it go again when its state has been loaded; until then it
# looks as if it were attached.
_ARRIVALS = (
    libvirt.VIR_DOMAIN_EVENT_STARTED_MIGRATED,
    libvirt.VIR_DOMAIN_EVENT_STARTED_RESTORED,
    libvirt.VIR_DOMAIN_EVENT_STARTED_FROM_SNAPSHOT,
)


class Host(base.Driver):
    """libvirt's QEMU driver on this host.

    :raises compute_shim.hypervisor.base.UnsafeHost: at once, if libvirt's settings endanger its devices
    """

    def __init__(self, uri: str) -> None:
        protection.refuse_unsafe()
        self._uri = uri
        self._connection: libvirt.virConnect | None = None
        self._on_change: Callable[[str | None], None] = lambda uuid: None
        self._removed: dict[tuple[str, str], threading.Event] = {}
        # Domains that arrived with hostdevs of their past, and what was attached since.
        self._arrived: set[str] = set()
        self._proven: set[tuple[str, str]] = set()
        # libvirt prints every error to stderr unless told otherwise; they are raised as well.
        libvirt.registerErrorHandler(lambda context, error: None, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_run_events, name="libvirt-events", daemon=True).start()

    def listen(self, on_change: Callable[[str | None], None]) -> None:
        self._on_change = on_change

    def name(self) -> str:
        with self._connected() as connection:
            version = connection.getVersion()
            return f"{connection.getType()} {version // 1000000}.{version // 1000 % 1000}.{version % 1000}"

    def problems(self) -> list[str]:
        problem = protection.hook_problem()
        return [] if problem is None else [problem]

    def domains(self) -> list[base.Domain]:
        with self._connected() as connection:
            found = [self._describe(domain) for domain in connection.listAllDomains()]
        return [domain for domain in found if domain is not None]

    def domain(self, uuid: str) -> base.Domain | None:
        with self._connected() as connection:
            try:
                domain = connection.lookupByUUIDString(uuid)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return None
                raise
            return self._describe(domain)

    def attach(self, uuid: str, device_id: str, device: Device) -> base.Domain | None:
        with self._connected() as connection:
            domain = connection.lookupByUUIDString(uuid)
            guest = Guest(domain)
            _refuse_if_busy(domain)
            _attach(guest, device_id, device)
            self._proven.add((uuid, f"{base.ALIAS_PREFIX}{device_id}"))
            after = self._describe(domain)
        # An attach of an absent device succeeds as well.
        if after is not None and not any(
            hostdev.device_id == device_id and hostdev.holds(device) for hostdev in after.live
        ):
            self.detach(uuid, device_id, live=True, config=False)
            raise base.HypervisorError("QEMU did not open the device: it went away, or refuses to work")
        return after

    def detach(self, uuid: str, device_id: str, *, live: bool, config: bool) -> base.Domain | None:
        # Two calls: one with both flags is all or nothing, and fails if either has no such hostdev.
        with self._connected() as connection:
            domain = connection.lookupByUUIDString(uuid)
            guest = Guest(domain)
            if live:
                _refuse_if_busy(domain)
                self._remove(guest, uuid, device_id)
            if config:
                with _absence_is_success():
                    guest.undefine_hostdev(device_id)
            return self._describe(domain)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(libvirt.libvirtError):
                connection.close()

    def _remove(self, guest: Guest, uuid: str, device_id: str) -> None:
        key = (uuid, f"{base.ALIAS_PREFIX}{device_id}")
        removed = self._removed[key] = threading.Event()
        try:
            with _absence_is_success() as absent:
                guest.request_removal(device_id)
            if not absent and not removed.wait(_REMOVAL_SECONDS):
                raise base.HypervisorError(f"not removed from the domain within {_REMOVAL_SECONDS} s")
        finally:
            del self._removed[key]

    def _describe(self, domain: libvirt.virDomain) -> base.Domain | None:
        try:
            uuid = domain.UUIDString()
            return Guest(domain).describe(
                lambda hostdev: uuid not in self._arrived or (uuid, hostdev.alias) in self._proven
            )
        except libvirt.libvirtError as error:
            # It ended or was undefined while we looked: its event makes us look again.
            if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
                return None
            raise

    @contextlib.contextmanager
    def _connected(self) -> Iterator[libvirt.virConnect]:
        """The open connection; errors of libvirt inside become ours."""
        try:
            if self._connection is None:
                self._connection = self._open()
            yield self._connection
        except libvirt.libvirtError as error:
            if self._connection is None or not self._connection.isAlive():
                self.close()
                raise base.HypervisorUnavailable(f"libvirt at {self._uri}: {error}") from error
            LOG.warning("libvirt refused: %s", error)
            raise base.HypervisorError(refusals.explained(str(error))) from error

    def _open(self) -> libvirt.virConnect:
        connection = libvirt.open(self._uri)
        connection.setKeepAlive(_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT)
        connection.registerCloseCallback(self._closed, None)
        for event, callback in (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, self._device_changed),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, self._device_removed),
        ):
            connection.domainEventRegisterAny(None, event, callback, None)
        LOG.info("Connected to libvirt at %s", self._uri)
        return connection

    # The callbacks run in the event thread, where a call to libvirt would wait for itself.

    def _closed(self, connection: Any, reason: int, opaque: Any) -> None:
        LOG.warning("Lost the connection to libvirt at %s", self._uri)
        self._on_change(None)

    def _lifecycle(self, connection: Any, domain: Any, event: int, detail: int, opaque: Any) -> None:
        uuid = domain.UUIDString()
        if event == libvirt.VIR_DOMAIN_EVENT_STARTED:
            self._proven.difference_update({key for key in tuple(self._proven) if key[0] == uuid})
            if detail in _ARRIVALS:
                self._arrived.add(uuid)
            else:
                self._arrived.discard(uuid)
        self._on_change(uuid)

    def _device_changed(self, connection: Any, domain: Any, alias: str, opaque: Any) -> None:
        self._on_change(domain.UUIDString())

    def _device_removed(self, connection: Any, domain: Any, alias: str, opaque: Any) -> None:
        waiter = self._removed.get((domain.UUIDString(), alias))
        if waiter is not None:
            waiter.set()
        self._on_change(domain.UUIDString())


def _run_events() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:
            LOG.exception("libvirt's event loop failed; it goes on")


def _attach(guest: Guest, device_id: str, device: Device) -> None:
    """Attach; a refusal is explained by what the guest has."""
    try:
        guest.attach(device_id, device)
    except libvirt.libvirtError as error:
        reason = refusals.explained(str(error), guest.usb_controllers(), device.speed)
        LOG.warning("libvirt refused: %s", error)
        raise base.HypervisorError(reason) from error


def _refuse_if_busy(domain: libvirt.virDomain) -> None:
    """Raise `base.HypervisorBusy` while a domain is migrated or saved: a change would block till the end."""
    try:
        busy = domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE
    except libvirt.libvirtError as error:
        # "Migration statistics are available only on the source host", says the one that it comes to.
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_UNSUPPORTED:
            raise
        busy = True
    if busy:
        raise base.HypervisorBusy(Waiting.BUSY)


@contextlib.contextmanager
def _absence_is_success() -> Iterator[list[bool]]:
    """Swallow the refusal that says there is no such hostdev, and put it into the list that it yields.

    libvirt 9.0 says so with VIR_ERR_INTERNAL_ERROR for an alias and with VIR_ERR_DEVICE_MISSING else.
    """
    absent: list[bool] = []
    try:
        yield absent
    except libvirt.libvirtError as error:
        missing = error.get_error_code() == libvirt.VIR_ERR_DEVICE_MISSING
        if not missing and "no device found with alias" not in str(error):
            raise
        absent.append(True)
