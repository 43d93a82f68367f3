# SPDX-License-Identifier: Apache-2.0
"""How people name a USB device, and how it is shown to them.

Devices are dicts as the API sends them. Their strings come from the devices themselves, and a device
may be made to deceive.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Iterable
from typing import Any

from keystoneauth1 import exceptions

from novaclient_usb import kinds

# Unicode general categories (Unicode standard, table 4-4) that steer a terminal or cannot be seen:
# controls, invisible formatting (all bidi controls are there), lone surrogates, line and paragraph ends.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}

_BUS_DEVICE = re.compile(r"[0-9]{1,5}:[0-9]{1,5}")


class DeviceNotFound(exceptions.ClientException):
    """No device goes by the name."""


class AmbiguousDevice(exceptions.ClientException):
    """Several devices go by the name; the message lists them."""


def printable(text: str) -> str:
    """The text with U+FFFD for each character that could steer a terminal or hide something."""
    return "".join("\ufffd" if unicodedata.category(char) in _UNPRINTABLE else char for char in text)


def lsusb_line(device: dict[str, Any]) -> str:
    """The device as ``lsusb`` prints it: ``Bus 002 Device 003: ID 0781:5567 SanDisk Corp. Cruzer Blade``.

    A device without bus and device number, because it is not plugged in, has dashes there.
    """
    bus, number = ("---" if device[key] is None else f"{device[key]:03}" for key in ("bus", "device"))
    line = f"Bus {bus} Device {number}: ID {device['vendor_id']}:{device['product_id']} {device['name']}"
    return printable(line).rstrip()


def may_be_kind(wanted: str) -> bool:
    """Whether a kind may be called so; what has the form of an id is only ever an id."""
    return re.fullmatch(kinds.PATTERN, wanted) is not None and not is_id(wanted)


def find_device(devices: Iterable[dict[str, Any]], wanted: str, how_to_list: str) -> dict[str, Any]:
    """The one device that is called so.

    :param wanted: its id, its name, its ``vid:pid``, its serial, its port (``1-4``), or ``BUS:DEV`` as
        ``lsusb`` prints it (``002:003``; ``2:3`` as well). One text may be several of these, and all of them
        are tried, but what has the form of an id is only ever an id: a device must not get itself attached
        in place of another by bearing its id as serial.
    :param how_to_list: one sentence for the error, on how to see which devices there are
    :raises DeviceNotFound: none is called so
    :raises AmbiguousDevice: several are
    """
    matches = [device for device in devices if _is_called(device, wanted)]
    if not matches:
        raise DeviceNotFound(f"No USB device '{printable(wanted)}' was found. {how_to_list}")
    if len(matches) > 1:
        listed = "".join(f"\n  {_describe(device)}" for device in matches)
        raise AmbiguousDevice(
            f"{len(matches)} USB devices are called '{printable(wanted)}'. Use one of these IDs:{listed}"
        )
    return matches[0]


def _is_called(device: dict[str, Any], wanted: str) -> bool:
    if is_id(wanted):
        return bool(device["id"] == wanted.lower())
    if _BUS_DEVICE.fullmatch(wanted) and [device["bus"], device["device"]] == [
        int(number) for number in wanted.split(":")
    ]:
        return True
    vid_pid = f"{device['vendor_id']}:{device['product_id']}"
    return wanted.lower() == vid_pid or (
        wanted != "" and wanted in (device["name"], device["serial"], device["port"])
    )


def is_id(text: str) -> bool:
    """Whether this has the form of an id."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _describe(device: dict[str, Any]) -> str:
    """One line that tells two devices of one model apart."""
    serial = f" (serial {printable(device['serial'])})" if device["serial"] else ""
    return f"{device['id']}  {lsusb_line(device)}{serial}"
