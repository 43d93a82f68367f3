# SPDX-License-Identifier: Apache-2.0
"""The XML of USB devices: https://libvirt.org/formatdomain.html.

Hostdevs ("USB / PCI / SCSI devices") are devices of this host, redirdevs ("Redirected devices") of another.
"""

from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree

from compute_shim.hypervisor.base import ALIAS_PREFIX, Hostdev
from compute_shim.hypervisor.libvirt import hook
from compute_shim.objects import Device

_NO_VENDOR = "0000"
_ACTIVE = re.compile(r"\s*<domain\s[^>]*\bid=")
#: What Nova offers that takes devices of every speed (nova, objects/fields.py: USBControllerModelType).
XHCI = ("qemu-xhci", "nec-xhci")
# libvirt, src/conf/domain_addr.c: virDomainUSBAddressControllerModelToPorts, where the XML does not say.
_PORTS = {
    "piix3-uhci": 2,
    "piix4-uhci": 2,
    "vt82c686b-uhci": 2,
    "pci-ohci": 3,
    "ehci": 6,
    "ich9-ehci1": 6,
    "ich9-uhci1": 2,
    "nec-xhci": 4,
    "qemu-xhci": 4,
}
# libvirt, src/conf/domain_addr.c: VIR_DOMAIN_USB_HUB_PORTS.
_HUB_PORTS = 8


@dataclasses.dataclass(frozen=True)
class UsbPort:
    """A port of a domain's USB controller.

    :param bus: QEMU's name of the bus.
    :param number: of the port on it, from 1.
    """

    bus: str
    number: int


def hostdev_xml(device_id: str, device: Device) -> str:
    """The hostdev for the device at its current address.

    Vendor and product make libvirt refuse an address that belongs to another model. libvirt does not accept
    vendor 0 (libvirt, src/conf/domain_conf.c: virDomainHostdevSubsysUSBDefParseXML); then only the address is
    specified.
    The start-up policy prevents an absent device from stopping the domain.
    """
    hostdev = ElementTree.Element("hostdev", mode="subsystem", type="usb", managed="no")
    source = ElementTree.SubElement(hostdev, "source", startupPolicy="optional")
    if device.vendor_id != _NO_VENDOR:
        ElementTree.SubElement(source, "vendor", id=f"0x{device.vendor_id}")
        ElementTree.SubElement(source, "product", id=f"0x{device.product_id}")
    ElementTree.SubElement(source, "address", bus=str(device.bus), device=str(device.device))
    ElementTree.SubElement(hostdev, "alias", name=f"{ALIAS_PREFIX}{device_id}")
    return ElementTree.tostring(hostdev, encoding="unicode")


def address_xml(bus: int, device: int) -> str:
    """A hostdev identified by its address on the host, for drivers without aliases."""
    hostdev = ElementTree.Element("hostdev", mode="subsystem", type="usb", managed="no")
    source = ElementTree.SubElement(hostdev, "source")
    ElementTree.SubElement(source, "address", bus=str(bus), device=str(device))
    return ElementTree.tostring(hostdev, encoding="unicode")


def redirdev_xml(device_id: str, socket: str) -> str:
    """The redirdev for a device of another host.

    Without ``reconnect`` a domain that was saved or migrated with it does not start where nobody listens.

    :param socket: path of the unix socket of its relay.
    """
    redirdev = ElementTree.Element("redirdev", bus="usb", type="unix")
    source = ElementTree.SubElement(redirdev, "source", mode="connect", path=socket)
    ElementTree.SubElement(source, "reconnect", enabled="yes", timeout="1")
    ElementTree.SubElement(redirdev, "alias", name=f"{ALIAS_PREFIX}{device_id}")
    return ElementTree.tostring(redirdev, encoding="unicode")


def is_active(domain_xml: str) -> bool:
    """Whether a domain's XML is of a running domain: only then it has an id.

    https://libvirt.org/formatdomain.html, "Element and attribute overview".
    """
    return _ACTIVE.match(domain_xml) is not None


def usb_hostdevs(domain_xml: str) -> tuple[Hostdev, ...]:
    """The USB hostdevs of a domain's XML."""
    # libvirt wrote this XML, and it escapes what it writes.
    domain = ElementTree.fromstring(domain_xml)  # noqa: S314
    return tuple(_hostdev(element) for element in domain.iterfind("devices/hostdev[@type='usb']"))


def channels(domain_xml: str) -> tuple[str, ...]:
    """The ids of the devices of our redirdevs in a domain's XML."""
    domain = ElementTree.fromstring(domain_xml)  # noqa: S314
    found = (_device_id(element) for element in domain.iterfind("devices/redirdev"))
    return tuple(device_id for device_id in found if device_id is not None)


def usb_controllers(domain_xml: str) -> tuple[str, ...]:
    """The models of a domain's USB controllers, as named by libvirt."""
    domain = ElementTree.fromstring(domain_xml)  # noqa: S314
    return tuple(element.get("model", "") for element in domain.iterfind("devices/controller[@type='usb']"))


def usb_ports(domain_xml: str) -> int | None:
    """The number of our devices that a running domain can have, including current ones; None without USB."""
    domain = ElementTree.fromstring(domain_xml)  # noqa: S314
    controllers = domain.findall("devices/controller[@type='usb']")
    # A companion shares the ports of its master.
    ports = [_ports_of(controller) for controller in controllers if controller.find("master") is None]
    if not any(ports):
        return None
    hubs = domain.findall("devices/hub[@type='usb']")
    plugged = [it for it in domain.findall("devices/*") if it.find("address[@type='usb']") is not None]
    others = [it for it in plugged if it.tag not in ("hostdev", "redirdev") or _device_id(it) is None]
    return max(0, sum(ports) + _HUB_PORTS * len(hubs) - len(others))


def _ports_of(controller: ElementTree.Element) -> int:
    said = controller.get("ports", "")
    return int(said) if said.isdecimal() else _PORTS.get(controller.get("model", ""), 0)


def arrival_port(domain_xml: str, device_id: str) -> UsbPort | None:
    """The port of our hostdev that the hook cleared during an incoming migration.

    None if the hostdev is absent or did not arrive, or if its port does not support SuperSpeed: those of hubs
    do not.
    """
    domain = ElementTree.fromstring(domain_xml)  # noqa: S314
    for element in domain.iterfind("devices/hostdev[@type='usb']"):
        address = element.find("address[@type='usb']")
        hostdev = _hostdev(element)
        if hostdev.device_id != device_id or hostdev.bus != hook.NOWHERE or address is None:
            continue
        index, port = address.get("bus", ""), address.get("port", "")
        controller = domain.find(f"devices/controller[@type='usb'][@index='{index}']")
        if controller is None or controller.get("model") not in XHCI or not port.isdecimal():
            return None
        # libvirt names each controller, and QEMU its only bus after it.
        name = controller.find("alias[@name]")
        return None if name is None else UsbPort(f"{name.get('name')}.0", int(port))
    return None


def _hostdev(element: ElementTree.Element) -> Hostdev:
    alias = element.find("alias")
    source = element.find("source")
    address = element.find("source/address")
    return Hostdev(
        alias=None if alias is None else alias.get("name"),
        bus=_number(address, "bus"),
        device=_number(address, "device"),
        missing=source is not None and source.get("missing") == "yes",
    )


def _device_id(element: ElementTree.Element) -> str | None:
    """Id of our device in a hostdev or redirdev, None for one that is not ours."""
    return _hostdev(element).device_id


def _number(element: ElementTree.Element | None, attribute: str) -> int | None:
    value = None if element is None else element.get(attribute)
    return None if value is None else int(value)
