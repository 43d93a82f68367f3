# SPDX-License-Identifier: Apache-2.0
"""The base of the libvirt drivers: the connection, its events and its errors."""

from __future__ import annotations

import abc
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import libvirt
from oslo_log import log

from compute_shim.hypervisor import base
from compute_shim.hypervisor.libvirt import error_translation
from compute_shim.objects import Device, Reason

LOG = log.getLogger(__name__)

# libvirt's probes of an idle connection: a dead daemon is noticed after interval * count seconds.
_KEEPALIVE_SECONDS = 5
_KEEPALIVE_COUNT = 3


class LibvirtDriver(base.Driver):
    """A libvirt driver on this host; subclasses read domains, attach and detach.

    Methods of subclasses may raise `libvirt.libvirtError`.

    :param uri: of the driver, for example ``qemu:///system``.
    :cvar _not_attached: the reason if a domain does not have the device although libvirt attached it.
    """

    _not_attached: Reason

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._connection: libvirt.virConnect | None = None
        self._on_change: Callable[[str | None], None] = lambda uuid: None
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

    def attach(self, uuid: str, device_id: str, device: Device) -> None:
        with self._connected() as connection:
            domain = connection.lookupByUUIDString(uuid)
            self._attach(domain, device_id, device)
            # libvirt's answer proves nothing: an attach of an absent device succeeds as well.
            has_it = self._has(domain, device_id, device)
        if not has_it:
            self.detach(uuid, device_id, live=True, config=False)
            raise base.HypervisorError(self._not_attached.code, self._not_attached.details)

    def detach(self, uuid: str, device_id: str, *, live: bool, config: bool) -> base.Domain | None:
        with self._connected() as connection:
            domain = connection.lookupByUUIDString(uuid)
            self._detach(domain, device_id, live=live, config=config)
            return self._describe(domain)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(libvirt.libvirtError):
                connection.close()

    def _describe(self, domain: libvirt.virDomain) -> base.Domain | None:
        try:
            return self._look(domain)
        except libvirt.libvirtError as error:
            # It ended or was undefined while we looked: its event makes us look again.
            if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
                return None
            raise

    @abc.abstractmethod
    def _attach(self, domain: libvirt.virDomain, device_id: str, device: Device) -> None:
        """Attach the device to a running domain; `_has` verifies it."""

    @abc.abstractmethod
    def _has(self, domain: libvirt.virDomain, device_id: str, device: Device) -> bool:
        """Whether a domain has the attached device; also true if the domain has ended since."""

    @abc.abstractmethod
    def _detach(self, domain: libvirt.virDomain, device_id: str, *, live: bool, config: bool) -> None:
        """Remove our hostdev; returns when it is removed."""

    @abc.abstractmethod
    def _look(self, domain: libvirt.virDomain) -> base.Domain:
        """Read the hostdevs of a domain."""

    @contextlib.contextmanager
    def _connected(self) -> Iterator[libvirt.virConnect]:
        """The open connection; translates libvirt errors."""
        try:
            if self._connection is None:
                self._connection = self._open()
            yield self._connection
        except libvirt.libvirtError as error:
            if self._connection is None or not self._connection.isAlive():
                self.close()
                raise base.HypervisorUnavailable(f"libvirt at {self._uri}: {error}") from error
            LOG.warning("libvirt refused: %s", error)
            reason = error_translation.explained(str(error))
            raise base.HypervisorError(reason.code, reason.details) from error

    def _open(self) -> libvirt.virConnect:
        connection = libvirt.open(self._uri)
        connection.setKeepAlive(_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT)
        connection.registerCloseCallback(self._closed, None)
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None)
        LOG.info("Connected to libvirt at %s", self._uri)
        return connection

    # The callbacks run in the event thread, where a call to libvirt would wait for itself.

    def _closed(self, connection: Any, reason: int, opaque: Any) -> None:
        LOG.warning("Lost the connection to libvirt at %s", self._uri)
        self._on_change(None)

    def _lifecycle(self, connection: Any, domain: Any, event: int, detail: int, opaque: Any) -> None:
        self._on_change(domain.UUIDString())


def _run_events() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:
            LOG.exception("libvirt's event loop failed; it goes on")
