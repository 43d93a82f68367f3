# SPDX-License-Identifier: Apache-2.0
"""Operations on one QEMU domain."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import libvirt_qemu
from oslo_log import log

from compute_shim.hypervisor.base import ALIAS_PREFIX, Domain, Hostdev
from compute_shim.hypervisor.libvirt import config, qemu_process
from compute_shim.objects import Device

LOG = log.getLogger(__name__)

# QEMU's name of a device that is there for a moment.
_PASSING = "usb-shim-passing"

# enum values of libvirt's stable ABI (libvirt-domain.h: virDomainModificationImpact, virDomainXMLFlags,
# virDomainMessageType)
AFFECT_LIVE = 1
AFFECT_CONFIG = 2
XML_INACTIVE = 2
_MESSAGE_TAINTING = 2


def describe(domain: Any, live: Callable[[str], tuple[Hostdev, ...]]) -> Domain:
    """A domain with its live hostdevs and those of its definition. May raise `libvirt.libvirtError`.

    :param domain: a `libvirt.virDomain`
    :param live: the hostdevs in the XML of a running domain.
    """
    now = domain.XMLDesc(0)
    running = config.is_active(now)
    defined: tuple[Hostdev, ...] = ()
    if domain.isPersistent():
        defined = config.usb_hostdevs(domain.XMLDesc(XML_INACTIVE))
    return Domain(
        domain.UUIDString(),
        domain.name(),
        running,
        live(now) if running else (),
        defined,
        config.usb_ports(now) if running else None,
        config.channels(now) if running else (),
    )


class Guest:
    """A domain. Methods may raise `libvirt.libvirtError`, which `driver.LibvirtDriver` translates."""

    def __init__(self, domain: Any) -> None:
        """:param domain: a `libvirt.virDomain`"""
        self._domain = domain

    def describe(self, trusted: Callable[[Hostdev], bool] = lambda hostdev: True) -> Domain:
        """The domain with its live hostdevs and those of its definition.

        :param trusted: False for a hostdev that is known to be empty, regardless of the XML.
        """
        return describe(self._domain, lambda now: self._really(config.usb_hostdevs(now), trusted))

    def _really(
        self, hostdevs: tuple[Hostdev, ...], trusted: Callable[[Hostdev], bool]
    ) -> tuple[Hostdev, ...]:
        """The hostdevs; one of ours is empty if QEMU does not hold its device exclusively."""
        if not any(hostdev.device_id for hostdev in hostdevs):
            return hostdevs
        held = qemu_process.held_devices(self._domain.name())
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
        """Attach the device to the running domain; does not change the definition."""
        self._domain.attachDeviceFlags(config.hostdev_xml(device_id, device), AFFECT_LIVE)

    def attach_channel(self, device_id: str, socket: str) -> None:
        """Connect the running domain to a relay; does not change the definition."""
        self._domain.attachDeviceFlags(config.redirdev_xml(device_id, socket), AFFECT_LIVE)

    def request_removal(self, device_id: str) -> None:
        """Request the removal from the running domain; an event reports its completion."""
        self._domain.detachDeviceAlias(f"{ALIAS_PREFIX}{device_id}", AFFECT_LIVE)

    def arrival_port(self, device_id: str) -> config.UsbPort | None:
        """The port that the guest believes to be in use when our hostdev has arrived and is removed."""
        return config.arrival_port(self._domain.XMLDesc(0), device_id)

    def show_empty(self, port: config.UsbPort) -> None:
        """Notify the guest that a SuperSpeed port is empty.

        QEMU does not know the speed of a hostdev that arrived without a device, and reports its removal on
        the USB 2 half of its port (hw/usb/hcd-xhci.c: xhci_lookup_port). The guest continues to see a
        SuperSpeed device; at the next migration, QEMU disables the slot that the guest still uses, and the
        guest's driver hangs. Plugging and unplugging an emulated SuperSpeed device corrects the port. The
        libvirt equivalents need a backend, hence the monitor; libvirt marks the domain "custom-monitor".
        """
        added = self._monitor(
            "device_add", driver="usb-bot", bus=port.bus, port=str(port.number), id=_PASSING
        )
        if added:
            self._monitor("qom-set", path=f"/machine/peripheral/{_PASSING}", property="attached", value=True)
            self._monitor("device_del", id=_PASSING)

    def end_passing(self) -> None:
        """Remove the emulated device of a `show_empty` that was interrupted when the agent was killed.

        It blocks migration: libvirt does not know it, and does not add it to the destination's QEMU.
        """
        # libvirt, src/conf/domain_conf.c: virDomainTaintMessage; who has not used the monitor left nothing.
        if any("custom monitor" in taint for taint in self._domain.messages(_MESSAGE_TAINTING)):
            self._monitor("device_del", id=_PASSING, expected="DeviceNotFound")

    def _monitor(self, command: str, expected: str = "", **arguments: str | bool) -> bool:
        """Run a QEMU monitor command; returns whether it succeeded.

        :param expected: the class of an error that is not logged as a warning.
        """
        request = json.dumps({"execute": command, "arguments": arguments})
        reply = json.loads(libvirt_qemu.qemuMonitorCommand(self._domain, request, 0))
        error = reply.get("error")
        if error and error.get("class") != expected:
            LOG.warning("%s: QEMU refused %s: %s", self._domain.name(), request, error.get("desc"))
        return not error

    def undefine_hostdev(self, device_id: str) -> None:
        """Remove the hostdev from the persistent definition."""
        self._domain.detachDeviceAlias(f"{ALIAS_PREFIX}{device_id}", AFFECT_CONFIG)
