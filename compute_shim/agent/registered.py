# SPDX-License-Identifier: Apache-2.0
"""Detects use of kernel objects without a device node: network, Bluetooth, unknown objects.

Their use does not open a file, so each type has a separate check. Unknown objects count as used.
"""

from __future__ import annotations

import fcntl
import re
import socket
import struct
from collections.abc import Callable, Iterable, Iterator

from compute_shim.agent import usb_tree
from compute_shim.agent.inventory import clean
from compute_shim.agent.usb_tree import Interface, UsbTree
from compute_shim.objects import Reason, ReasonCode

_CLAIMED = "usbfs"
# What belongs to every device of sysfs.
_EVERYWHERE = r"power|wakeup|ep_[0-9a-f]{2}"
_PLAIN = re.compile(_EVERYWHERE)
# What is used by its nodes only, all of which are looked at by number, and what nobody can use at all.
_BY_NODES = re.compile(
    rf"({_EVERYWHERE}|host[0-9]+|tty.*|usbmisc|input|hidraw|sound|video4linux|media[0-9]*|dvb|rc|lirc|mmc_host"
    r"|iio:device[0-9]+|gpio|gpiochip[0-9]+|cec|wwan|rfkill|leds|power_supply|hwmon|mdio_bus|i2c-[0-9]+)"
)
# A HID device: bus, vendor, product and number (Linux, drivers/hid/hid-core.c: hid_add_device).
_HID = re.compile(r"[0-9A-F]{4}:[0-9A-F]{4}:[0-9A-F]{4}\.[0-9A-F]{4}")
# Those of another network namespace are not shown in ours; the directory is.
_NAMESPACED = ("net", "ieee80211")

_IFF_UP = 1  # linux/if.h
# bluetooth.h and hci.h of BlueZ: the protocol, HCIGETDEVINFO, struct hci_dev_info with its size and where its
# flags are, and the bit HCI_UP of these.
_AF_BLUETOOTH = 31
_BTPROTO_HCI = 1
_HCIGETDEVINFO = 0x800448D3
_HCI_INFO_SIZE = 92
_HCI_FLAGS = 16
_HCI_UP = 1


def uses(tree: UsbTree, interfaces: Iterable[Interface]) -> Iterator[Reason]:
    """The uses of the objects that the host's drivers have registered."""
    empty: dict[str, bool] = {}
    for interface in interfaces:
        if interface.driver in (None, _CLAIMED):
            continue
        found = [name for name in tree.directories(interface.directory) if not _PLAIN.fullmatch(name)]
        empty[interface.driver] = not found and empty.get(interface.driver, True)
        for name in found:
            yield from _use(tree, f"{interface.directory}/{name}", interface.driver)
    # Of several interfaces that a driver has, it registers something at one of them.
    for driver in (driver for driver, is_empty in empty.items() if is_empty):
        yield Reason(ReasonCode.HOST_USE, f"used by the host: driver {driver}")


def _use(tree: UsbTree, directory: str, driver: str) -> Iterator[Reason]:
    """The use of one object that a driver has registered."""
    name = directory.rpartition("/")[2]
    if name in _ASKED:
        members = usb_tree.names(directory)
        if not members and name in _NAMESPACED:
            text = "used by the host: its network interface is in another network namespace"
            yield Reason(ReasonCode.HOST_NETWORK, text)
        for member in members:
            yield from _ASKED[name](f"{directory}/{member}")
    elif _HID.fullmatch(name):
        for below in tree.directories(directory):
            if not _BY_NODES.fullmatch(below):
                yield from _use(tree, f"{directory}/{below}", driver)
    elif not _BY_NODES.fullmatch(name):
        what = clean(name.encode())
        yield Reason(ReasonCode.HOST_USE, f"used by the host: driver {driver} has registered {what}")


def _network(directory: str) -> Iterator[Reason]:
    name = clean(directory.rpartition("/")[2].encode())
    flags = usb_tree.read(f"{directory}/flags")
    if not flags or int(flags, 16) & _IFF_UP:
        yield Reason(ReasonCode.HOST_NETWORK, f"used by the host: network interface {name} is up")
    # "master" of a bridge, bond or team; "upper_NAME" of these, VLANs and the like (Linux, net/core/dev.c:
    # netdev_adjacent_sysfs_add).
    above = [entry for entry in usb_tree.names(directory) if entry.startswith("upper_")]
    if above:
        what = clean(above[0].removeprefix("upper_").encode())
        yield Reason(ReasonCode.HOST_NETWORK, f"used by the host: network interface {name} is part of {what}")


def _bluetooth(directory: str) -> Iterator[Reason]:
    name = clean(directory.rpartition("/")[2].encode())
    number = name.removeprefix("hci")
    # Its connections ("hci0:11") are members too, of an adapter that is up.
    if not number.isdecimal() or _is_up(int(number)):
        yield Reason(ReasonCode.HOST_NETWORK, f"used by the host: Bluetooth adapter {name} is up")


def _is_up(adapter: int) -> bool:
    """Whether a Bluetooth adapter is up, or its state is unknown."""
    request = struct.pack("=H", adapter).ljust(_HCI_INFO_SIZE, b"\0")
    try:
        with socket.socket(_AF_BLUETOOTH, socket.SOCK_RAW, _BTPROTO_HCI) as asked:
            info = fcntl.ioctl(asked, _HCIGETDEVINFO, request)
    except OSError:
        return True
    return bool(struct.unpack_from("=I", info, _HCI_FLAGS)[0] & _HCI_UP)


def _unused(directory: str) -> Iterator[Reason]:
    yield from ()


_ASKED: dict[str, Callable[[str], Iterator[Reason]]] = {
    "net": _network,
    "ieee80211": _unused,
    "bluetooth": _bluetooth,
}
