# SPDX-License-Identifier: Apache-2.0
"""Stable names of the sockets of a host, read from sysfs.

The kernel assigns bus numbers in the order in which it finds the controllers, so a port such as ``2-1`` can
be another socket after the next boot. A socket is named by its controller and the path of ports
below that, as udev's ``ID_PATH`` and ``ID_PATH_WITH_USB_REVISION`` name it (systemd,
src/udev/udev-builtin-path_id.c): ``pci-0000:00:14.0-usbv2-0:1.4``. udev's database is not used, because
udev may not have processed the device yet.

A connector of a USB 3 controller has two ports, on two buses; sysfs links each to the other as its ``peer``
(Linux, drivers/usb/core/port.c). Both are named by the USB 2 half.
"""

from __future__ import annotations

import dataclasses
import os
import re

from compute_shim.agent import files

_ROOT_HUB = re.compile(r"usb[0-9]+")
_PCI_FUNCTION = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_PCI_ROOT = re.compile(r"pci[0-9a-f]{4,}:[0-9a-f]{2}")
# Of a platform device whose number comes from the order of probing (Linux, drivers/base/platform.c:
# PLATFORM_DEVID_AUTO). Its parent tells such devices apart.
_AUTOMATIC_NUMBER = re.compile(r"\.[0-9]+\.auto$")
# ``<hub>-port<number>`` below a hub, ``usb<bus>-port<number>`` below a root hub.
_HUB_PORT = re.compile(r"(?:usb[0-9]+|[0-9]+-(?P<hub>[0-9.]+))-port(?P<number>[0-9]+)")

# Speed of a root hub in Mb/s -> the revision of USB by which udev calls it; faster ones are USB 3.
_REVISIONS = {"12": 1, "480": 2}
_USB_3 = 3


@dataclasses.dataclass(frozen=True)
class Socket:
    """The name of a socket.

    :param lasting: False if the name can still change, when the kernel finds the USB 2 half of the connector.
    """

    name: str
    lasting: bool


def name(directory: str, port: str) -> Socket:
    """The socket of a device.

    :param directory: of the device in sysfs; a link will do.
    :param port: as sysfs names it, ``2-1.4``.
    :raises OSError: the device goes away
    :raises ValueError: that is no device below a root hub
    """
    segments = _real_path(directory).split("/")
    found = [index for index, segment in enumerate(segments) if _ROOT_HUB.fullmatch(segment)]
    if not found:
        raise ValueError(f"no root hub above {directory}")
    root_hub = "/".join(segments[: found[0] + 1])
    path = port.partition("-")[2]
    revision = _revision(root_hub)
    lasting = revision != _USB_3
    if revision == _USB_3 and (linked := _port_path(f"{directory}/port/peer")) is not None:
        path, revision, lasting = linked, 2, True
    elif revision == _USB_3 and (peer := _peer_of_hub(root_hub, path)) is not None:
        path, revision = peer, 2
    devices = segments.index("devices")
    controller = _controller(segments[devices + 1 : found[0]])
    return Socket(f"{controller}-usbv{revision}-0:{path}", lasting)


def _real_path(directory: str) -> str:
    """Where a directory is; the kernel's own links in ``/sys/bus`` lead there in one step."""
    try:
        target = os.readlink(directory)  # noqa: PTH115  a pass reads one of each device
    except OSError:
        return os.path.realpath(directory)
    return os.path.normpath(os.path.join(os.path.dirname(directory), target))  # noqa: PTH118, PTH120


def _controller(segments: list[str]) -> str:
    """A host controller by the directories that lead to it below ``/sys/devices``.

    As in ``ID_PATH``, the bridges above a PCI function do not count, but what the PCI bus hangs on does.
    """
    above = next((index for index, segment in enumerate(segments) if _PCI_ROOT.fullmatch(segment)), None)
    kept = segments if above is None else segments[:above]
    names = [_AUTOMATIC_NUMBER.sub("", segment) for segment in kept]
    functions = [segment for segment in segments if _PCI_FUNCTION.fullmatch(segment)]
    if functions:
        names.append(f"pci-{functions[-1]}")
    return "-".join(names) or "unknown"


def _revision(root_hub: str) -> int:
    return _REVISIONS.get(files.text(f"{root_hub}/speed"), _USB_3)


def _peer_of_hub(root_hub: str, path: str) -> str | None:
    """The port path of the USB 2 half by that of the hub's own port; None if sysfs does not know it.

    The halves of a hub are enumerated one after the other, so a port of a hub may have no peer yet. Then it
    has its number below the peer of the hub's own port.
    """
    first, dot, rest = path.partition(".")
    bus = root_hub.rpartition("/")[2].removeprefix("usb")
    linked = _port_path(f"{root_hub}/{bus}-0:1.0/usb{bus}-port{first}/peer")
    return None if linked is None else linked + dot + rest


def _port_path(link: str) -> str | None:
    try:
        target = os.readlink(link)  # noqa: PTH115  a pass reads one of each device
    except OSError:
        return None
    found = _HUB_PORT.fullmatch(target.rpartition("/")[2])
    if found is None:
        return None
    return f"{found['hub']}.{found['number']}" if found["hub"] else found["number"]
