# SPDX-License-Identifier: Apache-2.0
"""The verbs of one libvirt domain."""

from __future__ import annotations

from typing import Any

from compute_shim.hypervisor.base import ALIAS_PREFIX, Domain
from compute_shim.hypervisor.libvirt import config
from compute_shim.objects import Device

# enum values of libvirt's stable ABI (libvirt-domain.h: virDomainModificationImpact, virDomainXMLFlags)
AFFECT_LIVE = 1
AFFECT_CONFIG = 2
XML_INACTIVE = 2


class Guest:
    """A domain. Every method lets `libvirt.libvirtError` rise; `host.Host` translates it."""

    def __init__(self, domain: Any) -> None:
        """:param domain: a `libvirt.virDomain`"""
        self._domain = domain

    def describe(self) -> Domain:
        """The domain with what it has and what its definition has."""
        now = self._domain.XMLDesc(0)
        running = config.is_active(now)
        live = config.usb_hostdevs(now) if running else ()
        defined: tuple = ()
        if self._domain.isPersistent():
            defined = config.usb_hostdevs(self._domain.XMLDesc(XML_INACTIVE))
        return Domain(self._domain.UUIDString(), self._domain.name(), running, live, defined)

    def attach(self, device_id: str, device: Device) -> None:
        """Plug the device into the running domain; the definition stays as it is."""
        self._domain.attachDeviceFlags(config.hostdev_xml(device_id, device), AFFECT_LIVE)

    def request_removal(self, device_id: str) -> None:
        """Ask for the removal from the running domain; an event tells when it is done."""
        self._domain.detachDeviceAlias(f"{ALIAS_PREFIX}{device_id}", AFFECT_LIVE)

    def undefine_hostdev(self, device_id: str) -> None:
        """Take the hostdev out of the persistent definition."""
        self._domain.detachDeviceAlias(f"{ALIAS_PREFIX}{device_id}", AFFECT_CONFIG)
