# SPDX-License-Identifier: Apache-2.0
"""The verbs of one libvirt domain of QEMU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from compute_shim.hypervisor.base import ALIAS_PREFIX, Domain, Hostdev
from compute_shim.hypervisor.libvirt import config, process
from compute_shim.objects import Device

# enum values of libvirt's stable ABI (libvirt-domain.h: virDomainModificationImpact, virDomainXMLFlags)
AFFECT_LIVE = 1
AFFECT_CONFIG = 2
XML_INACTIVE = 2


def describe(domain: Any, live: Callable[[str], tuple[Hostdev, ...]]) -> Domain:
    """A domain with what it has and what its definition has. Lets `libvirt.libvirtError` rise.

    :param domain: a `libvirt.virDomain`
    :param live: what a running domain has, from its XML.
    """
    now = domain.XMLDesc(0)
    running = config.is_active(now)
    defined: tuple[Hostdev, ...] = ()
    if domain.isPersistent():
        defined = config.usb_hostdevs(domain.XMLDesc(XML_INACTIVE))
    return Domain(domain.UUIDString(), domain.name(), running, live(now) if running else (), defined)


class Guest:
    """A domain. Every method lets `libvirt.libvirtError` rise; `host.Host` translates it."""

    def __init__(self, domain: Any) -> None:
        """:param domain: a `libvirt.virDomain`"""
        self._domain = domain

    def describe(self, trusted: Callable[[Hostdev], bool] = lambda hostdev: True) -> Domain:
        """The domain with what it has and what its definition has.

        :param trusted: False for a hostdev that is empty, whatever it looks like.
        """
        return describe(self._domain, lambda now: self._really(config.usb_hostdevs(now), trusted))

    def _really(
        self, hostdevs: tuple[Hostdev, ...], trusted: Callable[[Hostdev], bool]
    ) -> tuple[Hostdev, ...]:
        """The hostdevs; one of ours whose device QEMU does not have for itself is empty."""
        if not any(hostdev.device_id for hostdev in hostdevs):
            return hostdevs
        held = process.held_devices(self._domain.name())
        return tuple(
            dataclasses.replace(hostdev, missing=True)
            if hostdev.device_id and not (trusted(hostdev) and (held is None or hostdev.address in held))
            else hostdev
            for hostdev in hostdevs
        )

    def usb_controllers(self) -> tuple[str, ...]:
        """The models of its USB controllers."""
        return config.usb_controllers(self._domain.XMLDesc(0))

    def attach(self, device_id: str, device: Device) -> None:
        """Plug the device into the running domain; the definition stays as it is."""
        self._domain.attachDeviceFlags(config.hostdev_xml(device_id, device), AFFECT_LIVE)

    def request_removal(self, device_id: str) -> None:
        """Ask for the removal from the running domain; an event tells when it is done."""
        self._domain.detachDeviceAlias(f"{ALIAS_PREFIX}{device_id}", AFFECT_LIVE)

    def undefine_hostdev(self, device_id: str) -> None:
        """Take the hostdev out of the persistent definition."""
        self._domain.detachDeviceAlias(f"{ALIAS_PREFIX}{device_id}", AFFECT_CONFIG)
