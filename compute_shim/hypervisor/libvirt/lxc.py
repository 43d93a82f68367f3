# SPDX-License-Identifier: Apache-2.0
"""libvirt's LXC driver."""

from __future__ import annotations

import functools

import libvirt

from compute_shim.hypervisor import base
from compute_shim.hypervisor.libvirt import config, guest, lxc_devices, lxc_metadata
from compute_shim.hypervisor.libvirt.driver import LibvirtDriver
from compute_shim.objects import Device, Reason, ReasonCode


class Lxc(LibvirtDriver):
    """The servers are containers, which get the node of a device; the host's driver stays bound.

    `lxc_metadata` identifies our hostdevs. Those of a definition cannot be marked, and ours are never
    written there.
    """

    _not_attached = Reason(ReasonCode.DEVICE_GONE)

    def problems(self) -> list[str]:
        return []

    def is_server(self, pid: int) -> bool:
        return lxc_devices.is_inside(pid)

    def _attach(self, domain: libvirt.virDomain, device_id: str, device: Device) -> None:
        before = lxc_metadata.read(domain.XMLDesc(0))
        _mark(domain, {**before, device_id: (device.bus, device.device)})
        try:
            domain.attachDeviceFlags(config.hostdev_xml(device_id, device), guest.AFFECT_LIVE)
        except libvirt.libvirtError:
            _mark(domain, before)
            raise

    def _has(self, domain: libvirt.virDomain, device_id: str, device: Device) -> bool:
        after = self._describe(domain)
        return after is None or after.has(device_id, device)

    def _detach(self, domain: libvirt.virDomain, device_id: str, *, live: bool, config: bool) -> None:
        if live:
            _remove(domain, device_id)

    def _look(self, domain: libvirt.virDomain) -> base.Domain:
        def live(now: str) -> tuple[base.Hostdev, ...]:
            has = functools.partial(lxc_devices.has_node, domain.name())
            return lxc_metadata.applied(config.usb_hostdevs(now), lxc_metadata.read(now), has)

        return guest.describe(domain, live)


def _remove(domain: libvirt.virDomain, device_id: str) -> None:
    now = domain.XMLDesc(0)
    ours = lxc_metadata.read(now)
    address = ours.pop(device_id, None)
    if address is None:
        return
    with lxc_devices.node_on_host(address) as plugged:
        if any(hostdev.address == address for hostdev in config.usb_hostdevs(now)):
            domain.detachDeviceFlags(config.address_xml(*address), guest.AFFECT_LIVE)
    if plugged and lxc_devices.is_open(address):
        # The note stays, and with it the device with its server.
        raise base.HypervisorError(ReasonCode.OPEN_IN_SERVER)
    _mark(domain, ours)


def _mark(domain: libvirt.virDomain, ours: lxc_metadata.Marks) -> None:
    domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT,
        lxc_metadata.written(ours),
        lxc_metadata.PREFIX,
        lxc_metadata.NAMESPACE,
        guest.AFFECT_LIVE,
    )
