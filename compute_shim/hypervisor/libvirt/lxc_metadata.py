# SPDX-License-Identifier: Apache-2.0
"""Identifies our hostdevs of a container, by notes in the metadata of the running domain.

libvirt's LXC driver drops the alias of a hostdev and all other identifying data. A note is written before
its device is attached, so our hostdevs always have one; a note without a hostdev is an empty hostdev. Notes
are in the live domain only, and are removed with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from xml.etree import ElementTree

from compute_shim.hypervisor.base import ALIAS_PREFIX, Hostdev

#: Names our element among those of others (https://libvirt.org/formatdomain.html, "General metadata").
NAMESPACE = "urn:openstack-usb-passthrough:attachments"
PREFIX = "usb-shim"

#: Device id -> bus and device number.
Marks = dict[str, tuple[int, int]]


def read(domain_xml: str) -> Marks:
    """The notes in a domain's XML."""
    # libvirt wrote this XML, and what is in our element is from `written`, in our namespace by libvirt.
    domain = ElementTree.fromstring(domain_xml)  # noqa: S314
    return {
        element.attrib["id"]: (int(element.attrib["bus"]), int(element.attrib["device"]))
        for element in domain.iterfind("metadata/usb:attachments/usb:attachment", {"usb": NAMESPACE})
    }


def written(marks: Mapping[str, tuple[int, int]]) -> str | None:
    """The element that holds the notes, without its namespace; None if there are no notes."""
    if not marks:
        return None
    attachments = ElementTree.Element("attachments")
    for device_id, (bus, device) in marks.items():
        ElementTree.SubElement(attachments, "attachment", id=device_id, bus=str(bus), device=str(device))
    return ElementTree.tostring(attachments, encoding="unicode")


def applied(
    hostdevs: Iterable[Hostdev], marks: Marks, has: Callable[[tuple[int, int]], bool]
) -> tuple[Hostdev, ...]:
    """The hostdevs, with the ids of ours.

    :param has: whether the container has the device at an address; otherwise the hostdev is empty.
    """
    by_address = {hostdev.address: hostdev for hostdev in hostdevs}
    ours = [
        Hostdev(
            f"{ALIAS_PREFIX}{device_id}",
            *address,
            missing=by_address.pop(address, None) is None or not has(address),
        )
        for device_id, address in marks.items()
    ]
    return (*by_address.values(), *ours)
