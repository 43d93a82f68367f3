# SPDX-License-Identifier: Apache-2.0
"""The udev rules file that makes a host's automatic services ignore devices.

Each device has a rule that matches it and everything below it, and a comment with its attributes. It is
identified by its serial number, otherwise by its port.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from pathlib import Path

from compute_shim.objects import Plugged

_HEADER = """\
# Written by usb-shim-agent: USB devices that are offered to instances, and kept from this host.
# Do not edit it. `usb-shim-manage shield remove` removes it.
"""
_RECORD = "#: "

# What reads them: 60-persistent-storage.rules (so no one looks for file systems, LVM or md), systemd and
# mdadm, udisks, ModemManager, libinput, NetworkManager.
_SETTINGS = {
    "UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG": "1",
    "SYSTEMD_READY": "0",
    "UDISKS_IGNORE": "1",
    "ID_MM_DEVICE_IGNORE": "1",
    "LIBINPUT_IGNORE_DEVICE": "1",
    "NM_UNMANAGED": "1",
}

# What means itself in a pattern of udev(7), and is safe in its quotes.
_PLAIN = re.compile(r"[A-Za-z0-9._:/+=,@#-]+( +[A-Za-z0-9._:/+=,@#-]+)*")
# A device can call itself what it likes each time that it is plugged in.
_MOST = 256


def read(file: Path) -> list[Plugged]:
    """The devices in a file; none if there is no file."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [device for line in lines if line.startswith(_RECORD) and (device := _device(line))]


def write(file: Path, devices: Iterable[Plugged]) -> bool:
    """Write the file for these devices, or remove it if there are none; returns whether it changed.

    :raises OSError: the directory cannot be written to
    """
    text = "".join(f"{_RECORD}{_record(device)}\n{_rule(device)}\n" for device in devices)
    if not text:
        existed = file.exists()
        file.unlink(missing_ok=True)
        return existed
    content = (_HEADER + text).encode()
    if file.exists() and file.read_bytes() == content:
        return False
    new = file.with_name(f".{file.name}.new")  # udev reads what ends in .rules
    new.write_bytes(content)
    new.replace(file)
    return True


def merged(known: Iterable[Plugged], seen: Iterable[Plugged]) -> list[Plugged]:
    """All devices without duplicates, as last seen; only the last ones if there are too many."""
    found: dict[tuple[str, ...], Plugged] = {}
    for device in (*known, *map(_plain, seen)):
        found.pop(_key(device), None)
        found[_key(device)] = device
    return sorted(list(found.values())[-_MOST:], key=_key)


def _plain(device: Plugged) -> Plugged:
    """Without what a subclass adds, and what changes at each plug."""
    values = {field.name: getattr(device, field.name) for field in dataclasses.fields(Plugged)}
    return Plugged(**values | {"bus": 0, "device": 0})


def _serial(device: Plugged) -> str:
    """The serial number, if it is valid in a udev pattern without escaping."""
    serial = device.serial.rstrip()
    return serial if _PLAIN.fullmatch(serial) else ""


def _key(device: Plugged) -> tuple[str, ...]:
    serial = _serial(device)
    return (device.vendor_id, device.product_id, serial, "" if serial else device.port)


def _rule(device: Plugged) -> str:
    serial = _serial(device)
    place = f'ATTRS{{serial}}=="{serial}"' if serial else f'KERNELS=="{device.port}"'
    settings = [f'ENV{{{name}}}="{value}"' for name, value in _SETTINGS.items()]
    model = f'ATTRS{{idVendor}}=="{device.vendor_id}", ATTRS{{idProduct}}=="{device.product_id}"'
    return ", ".join(['SUBSYSTEMS=="usb"', model, place, *settings])


def _record(device: Plugged) -> str:
    return json.dumps(dataclasses.asdict(device))


def _device(line: str) -> Plugged | None:
    """What a comment says; None if it is not of this version."""
    try:
        values = json.loads(line.removeprefix(_RECORD))
        return Plugged(**values | {"classes": tuple(values["classes"])})
    except (ValueError, TypeError, KeyError):
        return None
