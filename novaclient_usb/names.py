# SPDX-License-Identifier: Apache-2.0
"""Finding USB devices by name, and displaying them.

Devices are dicts as returned by the API. Their strings come from the devices and are untrusted.
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
    """No device matches the name."""


class AmbiguousDevice(exceptions.ClientException):
    """Several devices match the name; the message lists them."""


def printable(text: str) -> str:
    """The text with U+FFFD for each character that controls a terminal or is invisible."""
    return "".join("\ufffd" if unicodedata.category(char) in _UNPRINTABLE else char for char in text)


def lsusb_line(device: dict[str, Any]) -> str:
    """The device as ``lsusb`` prints it: ``Bus 002 Device 003: ID 0781:5567 SanDisk Corp. Cruzer Blade``.

    A device without bus and device number, because it is not plugged in, has dashes there.
    """
    bus, number = ("---" if device[key] is None else f"{device[key]:03}" for key in ("bus", "device"))
    line = f"Bus {bus} Device {number}: ID {device['vendor_id']}:{device['product_id']} {device['name']}"
    return printable(line).rstrip()


def may_be_kind(wanted: str) -> bool:
    """Whether this is a valid kind name; a UUID is always an id."""
    return re.fullmatch(kinds.PATTERN, wanted) is not None and not is_id(wanted)


def find_device(devices: Iterable[dict[str, Any]], wanted: str, how_to_list: str) -> dict[str, Any]:
    """The only device that matches.

    :param wanted: its id, its name, its ``vid:pid``, its serial, its port (``1-4``), or ``BUS:DEV`` as
        ``lsusb`` prints it (``002:003``; ``2:3`` as well). All of these are tried, but a UUID is only
        compared with ids, so that a device cannot impersonate another by using its id as serial number.
    :param how_to_list: a sentence for the error that says how to list the devices
    :raises DeviceNotFound: no device matches
    :raises AmbiguousDevice: several devices match
    """
    matches = [device for device in devices if _is_called(device, wanted)]
    if not matches:
        raise DeviceNotFound(f"No USB device '{printable(wanted)}' was found. {how_to_list}")
    if len(matches) > 1:
        listed = "".join(f"\n  {_describe(device)}" for device in matches)
        raise AmbiguousDevice(
            f"{len(matches)} USB devices match '{printable(wanted)}'. Use one of these IDs:{listed}"
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
    """Whether this is a UUID."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _describe(device: dict[str, Any]) -> str:
    """One line that distinguishes devices of the same model."""
    serial = f" (serial {printable(device['serial'])})" if device["serial"] else ""
    return f"{device['id']}  {lsusb_line(device)}{serial}"
